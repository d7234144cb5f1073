'use strict'
// Packages, bindings, namespaces, and what the server brings along.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { client, fails, ow, refused, value } = require('./client')

test('a package, what is in it, and a binding of it', async () => {
  const [namespace] = await ow.namespaces.list()
  const created = await ow.packages.create({
    name: 'tools', package: { parameters: [{ key: 'a', value: 1 }], publish: true }, annotations: { about: 'tools' }
  })
  assert.equal(created.version, '0.0.1')
  assert.equal(created.publish, true)
  assert.deepEqual(created.binding, {})
  assert.equal(value(created.annotations, 'about'), 'tools')
  await refused(409, 'resource already exists', ow.packages.create({ name: 'tools' }))
  const updated = await ow.packages.update({ name: 'tools', package: { parameters: [{ key: 'a', value: 2 }] } })
  assert.equal(updated.version, '0.0.2')
  assert.equal(updated.publish, true)

  const echo = 'function main (params) { return params }'
  await ow.actions.create({ name: 'tools/echo', action: echo, params: { c: 'action' } })
  await ow.actions.create({ name: 'tools/source', action: echo, annotations: { feed: true } })
  const read = await ow.packages.get('tools')
  assert.deepEqual(read.actions.map(({ name }) => name), ['echo'])
  assert.deepEqual(read.feeds.map(({ name }) => name), ['source'])
  assert.equal(read.actions[0].version, '0.0.1')

  const bind = { name: 'bound', package: { binding: { namespace: '_', name: 'tools' }, parameters: [{ key: 'b', value: 3 }] } }
  const bound = await ow.packages.create(bind)
  assert.deepEqual(bound.binding, { namespace, name: 'tools' })
  assert.deepEqual(value(bound.annotations, 'binding'), { namespace, name: 'tools' })
  const merged = await ow.packages.get('bound')
  assert.equal(value(merged.parameters, 'a'), 2)
  assert.equal(value(merged.parameters, 'b'), 3)
  assert.deepEqual([merged.actions, merged.feeds].map(([{ name }]) => name), ['echo', 'source'])
  assert.deepEqual(await ow.actions.invoke({ name: 'bound/echo', blocking: true, result: true, params: { d: 4 } }),
    { a: 2, b: 3, c: 'action', d: 4 })
  const record = await ow.actions.invoke({ name: 'bound/echo', blocking: true })
  assert.equal(value(record.annotations, 'path'), `${namespace}/tools/echo`)
  assert.equal(value(record.annotations, 'binding'), `${namespace}/bound`)

  await refused(400, 'Cannot bind to another package binding.',
    ow.packages.create({ name: 'chained', package: { binding: { namespace: '_', name: 'bound' } } }))
  await refused(400, 'Binding references a package that does not exist.',
    ow.packages.create({ name: 'ghost', package: { binding: { namespace: '_', name: 'no-such' } } }))
  await refused(409, 'Resource is a package and cannot be converted into a binding.',
    ow.packages.update({ name: 'tools', package: { binding: { namespace: 'whisk.system', name: 'utils' } } }))
  await refused(400, 'Operation not permitted on package binding.', ow.actions.create({ name: 'bound/new', action: echo }))
  await refused(400, "Package name 'default' is reserved.", ow.packages.create({ name: 'default' }))

  const listed = await ow.packages.list()
  assert.equal(listed.find(({ name }) => name === 'tools').binding, false)
  assert.deepEqual(listed.find(({ name }) => name === 'bound').binding, { namespace, name: 'tools' })
  assert.equal((await ow.packages.list({ count: true })).packages, listed.length)

  await refused(409, 'Package not empty (contains 2 entities). Set force param or delete package contents.', ow.packages.delete('tools'))
  await ow.packages.delete('bound')
  await ow.actions.delete(['tools/echo', 'tools/source'])
  assert.equal((await ow.packages.delete('tools')).name, 'tools')
  await refused(404, 'The requested resource does not exist.', ow.packages.get('tools'))
})

test('namespaces and what they hold', async () => {
  const names = await ow.namespaces.list()
  assert.equal(names.length, 1)
  await ow.actions.create({ name: 'one', action: 'function main () {}' })
  const all = await ow.namespaces.get({ name: names[0] })
  assert.deepEqual(Object.keys(all).sort(), ['actions', 'packages', 'rules', 'triggers'])
  assert.ok(all.actions.some(({ name }) => name === 'one'))
  const named = client({ namespace: names[0] })
  assert.equal((await named.actions.get('one')).name, 'one')
  await named.actions.delete('one')
  await fails(403, client({ namespace: 'someone-elses' }).actions.get('one'))
  await fails(403, ow.actions.create({ name: '/someone-elses/one', action: 'function main () {}' }))
})

test('whisk.system is there for everyone', async () => {
  const packages = await ow.packages.list({ namespace: 'whisk.system' })
  for (const name of ['utils', 'samples', 'alarms']) {
    assert.ok(packages.some(entry => entry.name === name), `${name} is not in ${JSON.stringify(packages)}`)
  }
  const utils = await ow.packages.get('/whisk.system/utils')
  for (const name of ['cat', 'date', 'echo', 'head', 'sort', 'split']) {
    assert.ok(utils.actions.some(action => action.name === name), name)
  }
  assert.deepEqual(await ow.actions.invoke({ name: '/whisk.system/utils/echo', blocking: true, result: true, params: { a: [1] } }), { a: [1] })
  assert.deepEqual(await ow.actions.invoke({ name: '/whisk.system/utils/split', blocking: true, result: true, params: { payload: 'a,b', separator: ',' } }),
    { lines: ['a', 'b'], payload: 'a,b' })
  await ow.packages.create({ name: 'mine', package: { binding: { namespace: 'whisk.system', name: 'utils' }, parameters: [{ key: 'bound', value: true }] } })
  assert.deepEqual(await ow.actions.invoke({ name: 'mine/echo', blocking: true, result: true }), { bound: true })
  await ow.packages.delete('mine')
  await fails(403, ow.actions.delete('/whisk.system/utils/echo'))
  await fails(403, ow.packages.update({ name: '/whisk.system/utils', package: {} }))
})
