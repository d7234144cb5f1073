'use strict'
// Activations: lists with their filters, logs, results.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { activation, eventually, fails, ow, refused } = require('./client')

test('lists, filters, logs and results', async () => {
  await ow.packages.create({ name: 'pkg' })
  const code = 'function main ({ n }) { console.log("n is", n); console.error("oh"); return n < 0 ? { error: "negative" } : { n } }'
  await ow.actions.create({ name: 'pkg/counted', action: code })
  await ow.actions.create({ name: 'other', action: code })
  const records = []
  for (const n of [0, 1, 2]) records.push(await ow.actions.invoke({ name: 'pkg/counted', blocking: true, params: { n } }))
  const { error: failed } = await fails(502, ow.actions.invoke({ name: 'pkg/counted', blocking: true, params: { n: -1 } }))
  const other = await ow.actions.invoke({ name: 'other', blocking: true, params: { n: 9 } })
  for (const { activationId } of [...records, failed, other]) await activation(activationId)

  const named = await ow.activations.list({ name: 'pkg/counted' })
  assert.deepEqual(named.map(({ activationId }) => activationId),
    [failed, ...records.toReversed()].map(({ activationId }) => activationId), 'the newest is first')
  assert.equal(named[0].statusCode, 1)
  assert.equal(named[1].statusCode, 0)
  assert.equal(named[0].name, 'counted')
  assert.equal(named[0].response, undefined)
  assert.equal(named[0].logs, undefined)
  assert.equal(named[0].annotations.find(({ key }) => key === 'path').value, `${named[0].namespace}/pkg/counted`)
  assert.equal((await ow.activations.list({ name: 'other' })).length, 1)
  assert.equal((await ow.activations.list()).length, 5)
  assert.equal((await ow.activations.list({ count: true })).activations, 5)
  assert.equal((await ow.activations.list({ name: 'pkg/counted', count: true })).activations, 4)
  assert.deepEqual((await ow.activations.list({ name: 'pkg/counted', skip: 1, limit: 2 })).map(({ activationId }) => activationId),
    named.slice(1, 3).map(({ activationId }) => activationId))
  const since = records[2].start
  const late = await ow.activations.list({ name: 'pkg/counted', since })
  assert.ok(late.length >= 2 && late.every(({ start }) => start >= since), JSON.stringify(late))
  const early = await ow.activations.list({ name: 'pkg/counted', upto: records[0].start })
  assert.ok(early.length >= 1 && early.every(({ start }) => start <= records[0].start), JSON.stringify(early))
  const [full] = await ow.activations.list({ name: 'other', docs: true })
  assert.deepEqual(full.response.result, { n: 9 })
  assert.equal(full.logs.length, 2)

  const [{ activationId }] = records
  const logs = await eventually('both lines are there', async () => {
    const { logs } = await ow.activations.logs(activationId)
    return logs.length === 2 && logs
  })
  assert.ok(logs.some(line => line.endsWith('stdout: n is 0')), logs)
  assert.ok(logs.some(line => line.endsWith('stderr: oh')), logs)
  const result = await ow.activations.result({ name: failed.activationId })
  assert.deepEqual(result.result, { error: 'negative' })
  assert.equal(result.success, false)
  assert.equal(result.status, 'application error')
  assert.deepEqual((await ow.activations.result(activationId)).result, { n: 0 })

  await refused(404, 'The requested resource does not exist.', ow.activations.get('0123456789abcdef0123456789abcdef'))
  await fails(400, ow.activations.get('not-an-id'))
  await refused(400, "The parameter 'docs' is not permitted with 'count'.", ow.activations.list({ count: true, docs: true }))
  await refused(400, /Parameter may be a 'simple' name or 'package-name\/simple' name:/, ow.activations.list({ name: 'a/b/c' }))
  await refused(400, "The query parameter 'limit' was malformed:\nThe value '201' is not in the range of 0 to 200 for activations.", ow.activations.list({ limit: 201 }))
  await ow.actions.delete(['pkg/counted', 'other'])
  await ow.packages.delete('pkg')
  assert.equal((await ow.activations.list()).length, 5, 'records outlive their action')
})
