'use strict'
// Actions: what is kept of them, versions, updates, lists, and what is refused.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { fails, file, ow, refused, value } = require('./client')

const hello = 'function main (params) { return { greeting: `Hello ${params.name || "stranger"}` } }'

test('an action is created, read, listed, updated and deleted', async () => {
  const created = await ow.actions.create({
    name: 'hello', action: hello, params: { name: 'Ada' }, annotations: { about: 'greets' }, limits: { timeout: 30000 }
  })
  const [{ name: namespace }] = (await ow.namespaces.list()).map(name => ({ name }))
  assert.equal(created.name, 'hello')
  assert.equal(created.namespace, namespace)
  assert.equal(created.version, '0.0.1')
  assert.equal(created.publish, false)
  assert.match(created.exec.kind, /^nodejs:\d+$/)
  assert.equal(created.exec.binary, false)
  assert.deepEqual(created.limits, { timeout: 30000, memory: 256, logs: 10, concurrency: 1 })
  assert.deepEqual(created.parameters, [{ key: 'name', value: 'Ada' }])
  assert.equal(value(created.annotations, 'about'), 'greets')
  assert.equal(value(created.annotations, 'exec'), created.exec.kind)
  assert.equal(value(created.annotations, 'provide-api-key'), false)
  assert.equal(typeof created.updated, 'number')

  const read = await ow.actions.get('hello')
  assert.equal(read.exec.code, hello)
  const bare = await ow.actions.get({ name: 'hello', code: false })
  assert.equal(bare.exec.code, undefined)
  assert.equal(bare.exec.kind, created.exec.kind)

  const [listed] = (await ow.actions.list()).filter(action => action.name === 'hello')
  assert.deepEqual(Object.keys(listed).sort(),
    ['annotations', 'exec', 'limits', 'name', 'namespace', 'publish', 'updated', 'version'])
  assert.deepEqual(listed.exec, { binary: false })

  await refused(409, 'resource already exists', ow.actions.create({ name: 'hello', action: hello }))
  const updated = await ow.actions.update({ name: 'hello', params: { name: 'Grace' } })
  assert.equal(updated.version, '0.0.2')
  assert.equal(updated.limits.timeout, 30000)
  assert.equal(value(updated.annotations, 'about'), 'greets')
  assert.deepEqual(updated.parameters, [{ key: 'name', value: 'Grace' }])
  assert.equal((await ow.actions.get('hello')).exec.code, hello)
  const versioned = await ow.actions.update({ name: 'hello', version: '2.0.0', annotations: { more: 1 } })
  assert.equal(versioned.version, '2.0.0')
  assert.equal(value(versioned.annotations, 'about'), 'greets', 'annotations of actions merge')
  assert.equal(value(versioned.annotations, 'more'), 1)
  assert.deepEqual(await ow.actions.invoke({ name: 'hello', blocking: true, result: true }),
    { greeting: 'Hello Grace' })

  const deleted = await ow.actions.delete('hello')
  assert.equal(deleted.name, 'hello')
  await refused(404, 'The requested resource does not exist.', ow.actions.get('hello'))
  await refused(404, 'The requested resource does not exist.', ow.actions.delete('hello'))
  await refused(404, 'The requested resource does not exist.', ow.actions.invoke('hello'))
})

test('several at once, and lists with skip, limit and count', async () => {
  const names = ['list-a', 'list-b', 'list-c', 'list-d']
  await ow.packages.create({ name: 'lists' })
  await Promise.all(names.map(name => ow.actions.create({ name: `lists/${name}`, action: hello })))
  const read = await ow.actions.get(names.map(name => `lists/${name}`))
  assert.deepEqual(read.map(action => action.name), names)
  assert.ok(read.every(action => action.namespace.endsWith('/lists')))
  const all = await ow.actions.list()
  assert.equal(all.filter(action => names.includes(action.name)).length, 4)
  const { actions: count } = await ow.actions.list({ count: true })
  assert.equal(count, all.length)
  const two = await ow.actions.list({ limit: 2, skip: 1 })
  assert.deepEqual(two.map(action => action.name), all.slice(1, 3).map(action => action.name))
  assert.equal((await ow.actions.list({ limit: 0 })).length, all.length)
  await refused(400, "The query parameter 'limit' was malformed:\nThe value '201' is not in the range of 0 to 200 for actions.", ow.actions.list({ limit: 201 }))
  await refused(400, "The query parameter 'skip' was malformed:\nThe value '-1' is not greater than or equal to 0 for actions.", ow.actions.list({ skip: -1 }))
  await ow.actions.delete(names.map(name => `lists/${name}`))
  await ow.packages.delete('lists')
})

test('what makes no sense is refused', async () => {
  const put = (name, action) => ow.actions.create({ name, action })
  await refused(400, /The specified runtime 'cobol:1' is not supported by this platform\. Valid values are: '/,
    ow.actions.create({ name: 'nope', action: hello, kind: 'cobol:1' }))
  await refused(400, /^The request content was malformed:/, put('nope', { exec: { kind: 'nodejs:default' } }))
  await refused(400, 'duration 1 milliseconds below allowed threshold of 100 milliseconds',
    put('nope', { exec: { kind: 'nodejs:default', code: hello }, limits: { timeout: 1 } }))
  await refused(400, /^The request content was malformed:/, put('nope', { exec: 'nodejs:default' }))
  await refused(404, 'The requested resource does not exist.', put('no-such-package/nope', { exec: { kind: 'nodejs:default', code: hello } }))
  await refused(404, 'The requested resource does not exist.', ow.actions.get('nope'))
  await ow.triggers.create({ name: 'taken' })
  await refused(409, 'Resource by this name exists but is not in this collection.', put('taken', { exec: { kind: 'nodejs:default', code: hello } }))
  await ow.triggers.delete('taken')
})

test('kinds, archives and their entry points', async () => {
  const run = (name, params = {}) => ow.actions.invoke({ name, blocking: true, result: true, params })
  await ow.actions.create({ name: 'zipped', action: file('node.zip') })
  assert.equal((await ow.actions.get({ name: 'zipped', code: false })).exec.binary, true)
  assert.equal((await ow.actions.get('zipped')).exec.code, file('node.zip').toString('base64'))
  assert.deepEqual(await run('zipped', { name: 'Ada' }), { greeting: 'Hello Ada', from: 'a module beside it' })

  await ow.actions.create({ name: 'named', action: { exec: { kind: 'nodejs:20', code: 'exports.start = () => ({ started: true })', main: 'start' } } })
  assert.deepEqual(await run('named'), { started: true })

  const python = 'def main(params):\n    return {"greeting": "Hello " + params.get("name", "stranger")}\n'
  await ow.actions.create({ name: 'python', kind: 'python:default', action: python })
  assert.match((await ow.actions.get('python')).exec.kind, /^python:3/)
  assert.deepEqual(await run('python', { name: 'Ada' }), { greeting: 'Hello Ada' })
  await ow.actions.create({ name: 'python-zipped', kind: 'python:default', action: file('python.zip') })
  assert.deepEqual(await run('python-zipped', { name: 'Ada' }), { greeting: 'Hello Ada', from: 'a module beside it' })

  const shell = '#!/bin/sh\necho to the log\necho \'{"shell":true}\'\n'
  await ow.actions.create({ name: 'shell', exec: { kind: 'blackbox', image: 'openwhisk/dockerskeleton' }, action: shell })
  assert.deepEqual(await run('shell'), { shell: true })
  for (const name of ['zipped', 'named', 'python', 'python-zipped', 'shell']) await ow.actions.delete(name)
})

test('limits are kept, and out of range refused', async () => {
  const limits = { timeout: 5000, memory: 128, logs: 1, concurrency: 1 }
  const created = await ow.actions.create({ name: 'limited', action: hello, limits })
  assert.deepEqual(created.limits, limits)
  for (const wrong of [{ timeout: 99 }, { timeout: 3600001 }, { memory: 1 }, { memory: 1 << 20 }, { logs: 1 << 10 }]) {
    const error = await fails(400, ow.actions.update({ name: 'limited', limits: wrong }))
    assert.match(error.error.error, /allowed threshold|malformed/)
  }
  assert.deepEqual((await ow.actions.get('limited')).limits, limits)
  const effective = await ow.actions.client.request('GET', 'namespaces/_/limits')
  for (const name of ['invocationsPerMinute', 'concurrentInvocations', 'firesPerMinute', 'maxActionTimeout']) {
    assert.equal(typeof effective[name], 'number', `${name} of ${JSON.stringify(effective)}`)
  }
  await ow.actions.delete('limited')
})
