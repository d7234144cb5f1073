'use strict'
// Calls: blocking and not, results, errors of every kind, parameters, sequences.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { activation, fails, ow, refused, value } = require('./client')

const create = (name, code, more = {}) => ow.actions.create({ name, action: code, ...more })

test('blocking, its result alone, and not blocking', async () => {
  await create('echo', 'function main (params) { console.log("told"); return { params } }')
  const record = await ow.actions.invoke({ name: 'echo', blocking: true, params: { a: 1 } })
  assert.match(record.activationId, /^[0-9a-f]{32}$/)
  assert.equal(record.name, 'echo')
  assert.equal(record.version, '0.0.1')
  assert.equal(record.response.status, 'success')
  assert.equal(record.response.success, true)
  assert.deepEqual(record.response.result, { params: { a: 1 } })
  assert.ok(record.end >= record.start)
  assert.equal(typeof record.duration, 'number')
  assert.equal(value(record.annotations, 'path'), `${record.namespace}/echo`)
  assert.match(value(record.annotations, 'kind'), /^nodejs:/)
  assert.equal(typeof value(record.annotations, 'waitTime'), 'number')
  assert.equal(typeof value(record.annotations, 'initTime'), 'number', 'the first call is a cold one')
  assert.deepEqual(await ow.actions.invoke({ name: 'echo', blocking: true, result: true }), { params: {} })

  const { activationId } = await ow.actions.invoke({ name: 'echo', params: { b: [1, { c: null }] } })
  const later = await activation(activationId)
  assert.deepEqual(later.response.result, { params: { b: [1, { c: null }] } })
  assert.equal(later.logs.length, 1)
  assert.match(later.logs[0], /^\d{4}-\d\d-\d\dT[\d:.]+Z +stdout: told$/)
  await ow.actions.delete('echo')
})

test('errors: what the action says, what it throws, what it does not say in time', async () => {
  const outcomes = {
    says: ['function main () { return { error: "no such luck" } }', 'application error', 'no such luck'],
    throws: ['function main () { throw new Error("no such luck") }', 'action developer error', /An error has occurred: Error: no such luck/],
    exits: ['function main () { process.exit(1) }', 'action developer error', /did not produce a valid response and exited unexpectedly/],
    'no-object': ['function main () { return "text" }', 'action developer error', /dictionary|valid JSON/],
    'no-main': ['function other () {}', 'action developer error', /main/],
    slow: ['function main () { return new Promise(() => {}) }', 'action developer error', 'The action exceeded its time limits of 300 milliseconds.']
  }
  for (const [name, [code, status, said]] of Object.entries(outcomes)) {
    await create(name, code, name === 'slow' ? { limits: { timeout: 300 } } : {})
    const { error: record } = await fails(502, ow.actions.invoke({ name, blocking: true }))
    assert.equal(record.response.status, status, name)
    assert.equal(record.response.success, false)
    const { error } = record.response.result
    if (said instanceof RegExp) assert.match(JSON.stringify(error), said, name)
    else assert.equal(error, said, name)
    const recorded = await activation(record.activationId)
    assert.equal(recorded.response.status, status)
    await ow.actions.delete(name)
  }
})

test('promises, arrays and what is rejected', async () => {
  await create('promise', 'const main = async ({ ms }) => { await new Promise(r => setTimeout(r, ms)); return { after: ms } }')
  assert.deepEqual(await ow.actions.invoke({ name: 'promise', blocking: true, result: true, params: { ms: 20 } }), { after: 20 })
  await create('rejects', 'const main = async () => { throw { code: 42 } }')
  const { error } = await fails(502, ow.actions.invoke({ name: 'rejects', blocking: true }))
  assert.deepEqual(error.response.result, { error: { code: 42 } })
  await create('array', 'function main () { return [1, "two"] }')
  assert.deepEqual(await ow.actions.invoke({ name: 'array', blocking: true }), [1, 'two'])
  await create('nothing', 'function main () {}')
  assert.deepEqual(await ow.actions.invoke({ name: 'nothing', blocking: true, result: true }), {})
  for (const name of ['promise', 'rejects', 'array', 'nothing']) await ow.actions.delete(name)
})

test('parameters: package, action, call; final ones; those for the start', async () => {
  await ow.packages.create({ name: 'defaults', package: { parameters: [{ key: 'a', value: 'package' }, { key: 'b', value: 'package' }, { key: 'c', value: 'package' }] } })
  const echo = 'function main (params) { return { ...params, started: process.env.SETTING } }'
  const parameters = [{ key: 'b', value: 'action' }, { key: 'c', value: 'action' }, { key: 'SETTING', value: { x: 1 }, init: true }]
  const action = annotations => ({ exec: { kind: 'nodejs:default', code: echo }, parameters, annotations })
  await ow.actions.create({ name: 'defaults/echo', action: action([]) })
  assert.deepEqual(await ow.actions.invoke({ name: 'defaults/echo', blocking: true, result: true, params: { c: 'call' } }),
    { a: 'package', b: 'action', c: 'call', started: '{"x":1}' })
  await ow.actions.update({ name: 'defaults/echo', action: action([{ key: 'final', value: true }]) })
  await refused(400, 'Request defines parameters that are not allowed (e.g., reserved properties).',
    ow.actions.invoke({ name: 'defaults/echo', blocking: true, params: { b: 'call' } }))
  assert.equal((await ow.actions.invoke({ name: 'defaults/echo', blocking: true, result: true, params: { d: 'call' } })).d, 'call')
  await ow.actions.delete('defaults/echo')
  await ow.packages.delete('defaults')
})

test('what an action sees of its call, and a client inside it', async () => {
  await create('context', `function main () {
    return Object.fromEntries(Object.entries(process.env).filter(([name]) => name.startsWith('__OW_')))
  }`, { annotations: { 'provide-api-key': true } })
  const record = await ow.actions.invoke({ name: 'context', blocking: true })
  const seen = record.response.result
  assert.equal(seen.__OW_ACTIVATION_ID, record.activationId)
  assert.equal(seen.__OW_NAMESPACE, record.namespace)
  assert.equal(seen.__OW_ACTION_NAME, `/${record.namespace}/context`)
  assert.equal(seen.__OW_ACTION_VERSION, '0.0.1')
  assert.match(seen.__OW_DEADLINE, /^\d{13}$/)
  assert.ok(seen.__OW_TRANSACTION_ID)
  assert.ok(seen.__OW_API_KEY.includes(':'))
  assert.match(seen.__OW_API_HOST, /^https?:/)
  await ow.actions.delete('context')
})

test('sequences', async () => {
  await create('add', 'function main ({ n }) { if (n > 100) return { error: "too many" }; return { n: n + 1 } }')
  await create('twice', 'function main ({ n }) { return { n: n * 2 } }')
  await ow.actions.create({ name: 'chain', sequence: ['/_/add', '/_/twice', '/_/add'] })
  const read = await ow.actions.get('chain')
  assert.equal(read.exec.kind, 'sequence')
  assert.ok(read.exec.components.every(name => /^\/[^_/][^/]*\/(add|twice)$/.test(name)), read.exec.components)

  const record = await ow.actions.invoke({ name: 'chain', blocking: true, params: { n: 1 } })
  assert.deepEqual(record.response.result, { n: 5 })
  assert.equal(value(record.annotations, 'kind'), 'sequence')
  assert.equal(value(record.annotations, 'topmost'), true)
  const kept = await activation(record.activationId)
  assert.equal(kept.logs.length, 3)
  const components = await Promise.all(kept.logs.map(activation))
  assert.deepEqual(components.map(({ name }) => name), ['add', 'twice', 'add'])
  for (const component of components) {
    assert.equal(component.cause, record.activationId)
    assert.equal(value(component.annotations, 'causedBy'), 'sequence')
  }
  assert.equal(kept.duration, components.reduce((sum, { duration }) => sum + duration, 0))

  const { error: stopped } = await fails(502, ow.actions.invoke({ name: 'chain', blocking: true, params: { n: 200 } }))
  assert.deepEqual(stopped.response.result, { error: 'too many' })
  assert.equal((await activation(stopped.activationId)).logs.length, 1)
  const { activationId } = await ow.actions.invoke({ name: 'chain', params: { n: 2 } })
  assert.deepEqual((await activation(activationId)).response.result, { n: 7 })

  await ow.actions.create({ name: 'nested', sequence: ['/_/chain', '/_/twice'] })
  assert.deepEqual(await ow.actions.invoke({ name: 'nested', blocking: true, result: true, params: { n: 1 } }), { n: 10 })
  await refused(400, 'Sequence may not refer to itself.', ow.actions.update({ name: 'chain', sequence: ['/_/nested'] }))
  await refused(400, 'Sequence component does not exist.', ow.actions.update({ name: 'chain', sequence: ['/_/ghost'] }))
  await refused(400, 'No component specified for the sequence.', ow.actions.update({ name: 'chain', exec: {}, action: { exec: { kind: 'sequence', components: [] } } }))
  for (const name of ['nested', 'chain', 'twice', 'add']) await ow.actions.delete(name)
})
