'use strict'
// Actions in the style `openwhisk`, called as a contract would. `node --test` in this folder's parent.

const assert = require('node:assert')
const fs = require('node:fs')
const path = require('node:path')
const { test } = require('node:test')
const { Worker, until } = require('./worker.js')

const MARK = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n'

/** A worker that waits for `/init`. */
async function start (files, options) {
  if (typeof files === 'string') files = { exec: files }
  const worker = new Worker(files, { style: 'openwhisk', ...options })
  assert.ok(await worker.ready(), worker.err)
  return worker
}

async function post (worker, path, message) {
  const answer = await worker.call(typeof message === 'string' ? message : JSON.stringify(message), { path })
  assert.equal(answer.headers['content-length'], String(Buffer.byteLength(answer.body)))
  assert.equal(answer.headers['content-type'], 'application/json')
  return { status: answer.status, said: JSON.parse(answer.body) }
}

const init = (worker, value) => post(worker, '/init', { value: { name: 'test', main: 'main', binary: false, ...value } })
const run = (worker, value, more) => post(worker, '/run', { value, ...more })

/** A worker with its action. */
async function initialised (files, value, options) {
  const worker = await start(files, options)
  assert.deepEqual(await init(worker, value), { status: 200, said: { OK: true } })
  return worker
}

test('a source, and what it returns', async () => {
  const worker = await initialised(`
    function main (params) {
      if (params.is === 'nothing') return
      if (params.is === 'promise') return new Promise(resolve => setTimeout(resolve, 1, { later: true }))
      if (params.is === 'array') return [1, params]
      if (params.is === 'error') return { error: 'sorry' }
      return { got: params }
    }`)
  assert.deepEqual(await run(worker, { a: 'ü' }), { status: 200, said: { got: { a: 'ü' } } })
  assert.deepEqual(await run(worker, undefined), { status: 200, said: { got: {} } })
  assert.deepEqual(await run(worker, [1, 2]), { status: 200, said: { got: [1, 2] } })
  assert.deepEqual(await run(worker, { is: 'nothing' }), { status: 200, said: {} })
  assert.deepEqual(await run(worker, { is: 'promise' }), { status: 200, said: { later: true } })
  assert.deepEqual(await run(worker, { is: 'array' }), { status: 200, said: [1, { is: 'array' }] })
  assert.deepEqual(await run(worker, { is: 'error' }), { status: 200, said: { error: 'sorry' } })
})

test('where a source may have its function', async () => {
  for (const [source, main] of [
    ['const main = () => ({ ok: 1 })'], ['exports.main = () => ({ ok: 1 })'], ['module.exports.main = () => ({ ok: 1 }) // !'],
    ['module.exports = { main () { return { ok: 1 } } }'], ['global.main = () => ({ ok: 1 })'], ['var a = { b: () => ({ ok: 1 }) }', 'a.b'],
    ['exports.a = { b: () => ({ ok: 1 }) }', 'a.b'], ['"use strict"\nasync function hello () { return { ok: 1 } }', 'hello'],
    ['import fs from "fs"\nexport const main = () => ({ ok: fs.existsSync("/") ? 1 : 0 })'],
    ['const module = 1, exports = { main: () => ({ ok: 1 }) }, main = exports.main'],
    ['async function main () { return { ok: (await import("node:fs")).existsSync("/") ? 1 : 0 } }'],
    ['const { join } = require("path"); function main () { return { ok: join("1") - 0 } }']
  ]) {
    const worker = await initialised(source, { main: main ?? 'main' })
    assert.deepEqual((await run(worker, {})).said, { ok: 1 }, source)
  }
})

test('a source in the message', async () => {
  const worker = await initialised({ 'other.txt': '' }, { code: 'function main () { return { from: "message" } }' })
  assert.deepEqual((await run(worker, {})).said, { from: 'message' })
})

test('variables of the action and of the activation', async () => {
  const env = { A: 'x', B: 1, C: true, D: null, E: { f: [1] }, __OW_ACTION_NAME: '/guest/a' }
  const worker = await initialised(`
    const early = process.env.A
    function main ({ names }) { return { early, now: names.map(name => process.env[name] ?? null) } }`, { env })
  const first = { namespace: 'guest', activation_id: '1', deadline: '5', api_key: 'k', number: 7 }
  const names = ['B', 'C', 'D', 'E', '__OW_ACTION_NAME', '__OW_NAMESPACE', '__OW_ACTIVATION_ID', '__OW_DEADLINE', '__OW_API_KEY', '__OW_NUMBER']
  const { said } = await run(worker, { names }, first)
  assert.deepEqual(said, { early: 'x', now: ['1', 'true', '', '{"f":[1]}', '/guest/a', 'guest', '1', '5', 'k', null] })
  const second = await run(worker, { names: names.slice(5, 8) }, { namespace: 'guest', activation_id: '2', deadline: '6' })
  assert.deepEqual(second.said.now, ['guest', '2', '6'])
})

test('what is thrown at once is the developer\'s fault, what is rejected the application\'s', async () => {
  const worker = await initialised(`
    const loop = { a: 1n, f: function named () {}, list: [Symbol('s')], when: new Date(0), bytes: Buffer.from('x') }
    loop.self = loop
    function main ({ how }) {
      if (how === 'throw') throw new TypeError('bad')
      if (how === 'text') throw 'nooo'
      if (how === 'nothing') return Promise.reject()
      if (how === 'object') return Promise.reject({ code: 5 })
      if (how === 'loop') return Promise.reject(loop)
      return Promise.reject(Object.assign(new RangeError('worse', { cause: 'c' }), { code: 'E1', details: { a: 1 } }))
    }`)
  assert.deepEqual(await run(worker, { how: 'throw' }), { status: 502, said: { error: 'An error has occurred: TypeError: bad' } })
  assert.deepEqual(await run(worker, { how: 'text' }), { status: 502, said: { error: 'An error has occurred: nooo' } })
  assert.deepEqual(await run(worker, { how: 'nothing' }), { status: 200, said: { error: {} } })
  assert.deepEqual(await run(worker, { how: 'object' }), { status: 200, said: { error: { code: 5 } } })
  assert.deepEqual((await run(worker, { how: 'loop' })).said.error,
    { a: '1', list: ['Symbol(s)'], when: '1970-01-01T00:00:00.000Z', bytes: '[object Buffer]', self: '[Circular]' })
  const { status, said } = await run(worker, {})
  const { stack, ...error } = said.error
  assert.equal(status, 200)
  assert.match(stack, /^RangeError: worse\n +at main/)
  assert.deepEqual(error, { name: 'RangeError', message: 'worse', cause: 'c', code: 'E1', details: { a: 1 } })
  await until(() => worker.err.includes('TypeError: bad\n    at main (') && worker.err.includes('exec:5:'))
})

test('results that are none', async () => {
  const worker = await initialised('function main ({ what }) { return what === "circle" ? (x => (x.x = x))({}) : what === "big" ? { a: 1n } : what }')
  for (const what of ['text', 5, true]) {
    assert.deepEqual(await run(worker, { what }), { status: 502, said: { error: 'The action did not return a dictionary.' } })
  }
  assert.deepEqual((await run(worker, { what: null })).status, 502)
  for (const what of ['circle', 'big']) {
    const { status, said } = await run(worker, { what })
    assert.equal(status, 502)
    assert.match(said.error, /^An error has occurred: TypeError: /)
  }
  await until(() => worker.err.includes('Result must be of type object but has type "string": text'))
  assert.deepEqual((await run(worker, 'text')).status, 403)
})

test('an activation that prints nothing says so, and marks nothing', async () => {
  const worker = await initialised('function main ({ say }) { if (say) console.log(say); return {} }')
  const quiet = async value => (await worker.call(JSON.stringify({ value }), { path: '/run' })).headers['x-xebec-quiet']
  assert.equal(await quiet({}), '1')
  assert.equal(await quiet({ say: 'hello' }), undefined)
  await until(() => worker.out === 'hello\n' + MARK && worker.err === MARK)
  assert.equal(await quiet({}), '1')
  assert.deepEqual([worker.out, worker.err], ['hello\n' + MARK, MARK])
})

test('an activation that prints ends with a mark on both streams, before its answer', async () => {
  const worker = await initialised(`
    function main ({ size }) {
      process.stdout.write('o'.repeat(size) + '\\n')
      process.stderr.write('e'.repeat(size) + '\\n')
      return {}
    }`)
  assert.deepEqual([worker.out, worker.err], ['', ''])
  // Far more than a pipe holds.
  for (const size of [1, 1 << 20]) {
    worker.out = worker.err = ''
    await run(worker, { size })
    await until(() => worker.out.endsWith(MARK) && worker.err.endsWith(MARK))
    assert.equal(worker.out, 'o'.repeat(size) + '\n' + MARK)
    assert.equal(worker.err, 'e'.repeat(size) + '\n' + MARK)
  }
})

test('what cannot be initialised', async () => {
  const failed = 'Initialization has failed due to: '
  for (const [files, value, status, error, printed] of [
    [' 10 PRINT "Hello"', {}, 502, /^Initialization has failed due to: .*exec:1\n[^]*SyntaxError/, /SyntaxError/],
    ['throw new Error("early")', {}, 502, /^Initialization has failed due to: Error: early\n +at/, /early/],
    ['function other () {}', {}, 502, failed + "Action entrypoint 'main' is not a function.", /entrypoint/],
    ['var main = 5', {}, 502, failed + "Action entrypoint 'main' is not a function.", /entrypoint/],
    ['function main () {}', { main: 'x; process.exit()' }, 502, failed + 'Name of main function is not valid.', /not valid/],
    ['function main () {}', { code: '' }, 403, 'Missing main/no code to execute.'],
    [{ hello: 'world' }, {}, 502, failed + 'Zipped actions must contain either package.json or index.js at the root.', /Zipped/],
    [{ 'index.js': 'exports.other = 1' }, { binary: true }, 502, failed + "Action entrypoint 'main' is not a function.", /entrypoint/],
    [{ 'index.js': '' }, { main: 'nothing.main' }, 502, /Cannot find module/, /Cannot find module/]
  ]) {
    const worker = await start(files)
    const { status: got, said } = await init(worker, value)
    assert.equal(got, status)
    if (typeof error === 'string') assert.equal(said.error, error)
    else assert.match(said.error, error)
    if (!printed) continue
    await until(() => worker.out === MARK && worker.err.endsWith(MARK))
    assert.match(worker.err, printed)
  }
})

test('only once, and before it is run', async () => {
  const worker = await start('function main () { return {} }')
  assert.deepEqual(await run(worker, {}), { status: 403, said: { error: 'System not initialized.' } })
  assert.equal((await init(worker)).status, 200)
  assert.deepEqual(await init(worker), { status: 403, said: { error: 'Cannot initialize the action more than once.' } })
  assert.equal((await run(worker, {})).status, 200)
  for (const [path, body] of [['/', '{}'], ['/run', 'nonsense'], ['/init', '']]) {
    assert.deepEqual(await post(worker, path, body), { status: 500, said: { error: 'Bad request.' } })
  }
})

test('zip files', async () => {
  const index = 'exports.main = () => ({ from: require("./lib/a.js"), cwd: process.cwd() === __dirname })'
  const lib = 'module.exports = require("dependency")'
  const dependency = { 'node_modules/dependency/index.js': 'module.exports = "d"', 'lib/a.js': lib }
  for (const [files, main, expected] of [
    [{ 'index.js': index, ...dependency }, 'main', { from: 'd', cwd: true }],
    [{ 'start.js': index, 'package.json': '{"main": "start.js"}', ...dependency }, 'main', { from: 'd', cwd: true }],
    [{ 'lib/start.js': 'exports.niam = () => ({ a: 1 })', 'package.json': '{"main": "lib/start"}' }, 'niam', { a: 1 }],
    [{ 'other.js': 'exports.niam = { xyz: () => ({ a: 2 }) }' }, 'other.niam.xyz', { a: 2 }],
    [{ 'other.js': 'exports.niam = () => ({ a: 3 })', 'index.js': 'throw 1', 'package.json': '{}' }, 'other.niam', { a: 3 }],
    [{ 'index.js': 'export const main = async () => ({ a: 4 })', 'package.json': '{"type": "module"}' }, 'main', { a: 4 }],
    [{ 'start.mjs': 'export default { main: () => ({ a: 5 }) }', 'package.json': '{"main": "start.mjs"}' }, 'main', { a: 5 }],
    [{ exec: 'not this', 'index.js': 'exports.main = () => ({ a: 6 })' }, 'main', { a: 6 }]
  ]) {
    const worker = await initialised(files, { main, binary: true })
    assert.deepEqual((await run(worker, {})).said, expected)
  }
})

test('packages of the machine', async t => {
  const file = path.resolve(process.execPath, '../../lib/node_modules/npm/package.json')
  if (!fs.existsSync(file)) return t.skip('this Node has no packages')
  const source = 'exports.main = () => ({ name: require("npm/package.json").name, path: process.env.NODE_PATH ?? null })'
  for (const files of [{ exec: source }, { 'index.js': source }]) {
    const worker = await initialised(files)
    assert.deepEqual((await run(worker, {})).said, { name: 'npm', path: null })
  }
})

test('several activations at a time', async () => {
  const worker = await initialised(`
    let open
    const both = new Promise(resolve => { open = resolve })
    let count = 0
    async function main ({ n }) {
      if (++count === 2) open()
      await both
      return { n }
    }`, {}, { concurrency: 2 })
  const answers = await Promise.all([run(worker, { n: 1 }), run(worker, { n: 2 })])
  assert.deepEqual(answers.map(answer => answer.said.n), [1, 2])
})

test('what it throws on the side ends it', async () => {
  const worker = await initialised('function main () { setTimeout(() => { throw new Error("aside") }, 1); return new Promise(() => {}) }')
  await assert.rejects(run(worker, {}))
  assert.equal((await worker.gone)[0], 1)
  assert.match(worker.err, /aside/)
})

test('stops when told, after its calls', async () => {
  const worker = await initialised('function main () { console.log("in"); return new Promise(r => setTimeout(r, 200, { done: 1 })) }')
  const call = run(worker, {})
  await until(() => worker.out.startsWith('in\n'))
  worker.process.kill('SIGTERM')
  assert.deepEqual((await call).said, { done: 1 })
  assert.equal((await worker.gone)[0], 0)
})

test('a blank', async () => {
  const worker = await initialised('function main () { return { id: process.env.__OW_ACTIVATION_ID ?? null, a: process.env.A } }', {}, { blank: true, variables: { A: '1' } })
  assert.deepEqual((await run(worker, {})).said, { id: null, a: '1' })
})
