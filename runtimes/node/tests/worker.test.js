'use strict'
// Runs the worker as the server does, and calls it over its sockets. `node --test` in this folder's parent.

const assert = require('node:assert')
const net = require('node:net')
const { once } = require('node:events')
const { test } = require('node:test')
const { Worker, until } = require('./worker.js')

async function start (source, options, name = 'handler.js') {
  const worker = new Worker(typeof source === 'string' ? { [name]: source } : source, options)
  assert.ok(await worker.ready(), worker.err)
  return worker
}

async function failsToStart (source, options, name) {
  const worker = new Worker(typeof source === 'string' ? { [name ?? 'handler.js']: source } : source, options)
  assert.equal(await worker.ready(), false)
  assert.equal((await worker.gone)[0], 1)
  return worker.err
}

test('event and context', async () => {
  const worker = await start(`
    module.exports = async (event, context) => {
      const { body, method, path, query, headers } = event
      return context.status(202).headers({ 'X-A': headers['x-b'] })
        .succeed({ body, method, path, query, id: context.callId, name: context.functionName })
    }`)
  const answer = await worker.call('{"a":1}', {
    method: 'PUT', path: '/p?x=1&x=2&y=3', headers: { 'content-type': 'application/json', 'x-b': 'b', 'x-call-id': 'c' }
  })
  assert.equal(answer.status, 202)
  assert.equal(answer.headers['x-a'], 'b')
  assert.deepEqual(JSON.parse(answer.body), {
    body: { a: 1 }, method: 'PUT', path: '/p', query: { x: ['1', '2'], y: '3' }, id: 'c', name: 'test'
  })
})

test('bodies by content type', async () => {
  const worker = await start('module.exports = async e => [e.body?.constructor.name, e.body]')
  const body = async (text, type) => JSON.parse((await worker.call(text, { headers: type ? { 'content-type': type } : {} })).body)
  assert.deepEqual(await body('x'), ['String', 'x'])
  assert.deepEqual(await body('{"a":1}', 'application/json; charset=utf-8'), ['Object', { a: 1 }])
  assert.deepEqual(await body('a=1&b=2&a=3', 'application/x-www-form-urlencoded'), ['Object', { a: ['1', '3'], b: '2' }])
  assert.equal((await body('x', 'image/png'))[0], 'Buffer')
  assert.equal((await worker.call('{', { headers: { 'content-type': 'application/json' } })).status, 400)
})

test('what is returned', async () => {
  const worker = await start(`
    module.exports = async (event, context) => ({
      nothing: undefined, text: 'x', object: { a: 1 }, list: [1], number: 7, bytes: Buffer.from('b'),
      shaped: { statusCode: 201, headers: { 'x-a': ['1', '2'] }, body: { made: true } },
      base64: { statusCode: 200, isBase64Encoded: true, body: 'aGk=' }, bad: { statusCode: 99 }
    })[event.body]`)
  const expected = {
    nothing: [200, '', undefined], text: [200, 'x', 'text/plain; charset=utf-8'],
    object: [200, '{"a":1}', 'application/json'], list: [200, '[1]', 'application/json'],
    number: [200, '7', 'application/json'], bytes: [200, 'b', 'application/octet-stream'],
    shaped: [201, '{"made":true}', 'application/json'], base64: [200, 'hi', 'application/octet-stream']
  }
  for (const [name, [status, body, type]] of Object.entries(expected)) {
    const answer = await worker.call(name)
    assert.deepEqual([answer.status, answer.body, answer.headers['content-type']], [status, body, type], name)
  }
  assert.equal((await worker.call('bad')).status, 500)
  assert.equal((await worker.call('shaped')).headers['x-a'], '1, 2')
})

test('callbacks and fail', async () => {
  const worker = await start(`
    module.exports = (event, context, callback) => {
      if (event.body === 'fail') return context.fail(new Error('no'))
      if (event.body === 'teapot') return context.status(418).fail('short and stout')
      setTimeout(() => callback(null, 'later'), 5)
    }`)
  assert.equal((await worker.call('x')).body, 'later')
  assert.deepEqual([(await worker.call('fail')).status, (await worker.call('fail')).body], [500, 'Error: no'])
  assert.deepEqual([(await worker.call('teapot')).status, (await worker.call('teapot')).body], [418, 'short and stout'])
})

test('plain http handlers', async () => {
  const worker = await start(`
    module.exports = (req, res) => {
      res.setHeader('x-a', req.method)
      req.pipe(res)
    }`)
  const body = 'x'.repeat(300_000)
  const answer = await worker.call(body)
  assert.deepEqual([answer.status, answer.body.length, answer.headers['x-a']], [200, body.length, 'POST'])
})

test('json style', async () => {
  const worker = await start('exports.main = params => ({ got: params })', {}, 'main.js')
  assert.deepEqual(JSON.parse((await worker.call('{"a":1}')).body), { got: { a: 1 } })
  assert.deepEqual(JSON.parse((await worker.call('x')).body), { got: 'x' })
})

test('streams', async () => {
  const worker = await start(`
    module.exports = async function (event) {
      return (async function * () {
        yield 'one '
        if (event.body === 'late') throw new Error('late')
        yield 'two'
      })()
    }`)
  const answer = await worker.call('x')
  assert.deepEqual([answer.body, answer.headers['transfer-encoding']], ['one two', 'chunked'])
  await assert.rejects(worker.call('late'))
  assert.equal((await worker.call('x')).body, 'one two')
})

test('handlers are found', async () => {
  const common = 'exports.handle = () => "handle"; exports.other = () => "other"'
  const es = 'import fs from "node:fs"; export const other = () => "other"; export default () => "handle"'
  for (const [name, source, handler, expected] of [
    ['handler.js', common, undefined, 'handle'], ['code.js', common, 'code.other', 'other'], ['code.js', common, 'code:other', 'other'],
    ['code.js', common, 'code.js', 'handle'], ['lib/code.js', common, 'lib/code.other', 'other'], ['any.js', common, undefined, 'handle'],
    ['index.js', common, 'other', 'other'], ['function/handler.js', common, undefined, 'handle'], ['handler.cjs', common, undefined, 'handle'],
    ['handler.mjs', es, undefined, 'handle'], ['handler.mjs', es, 'handler.other', 'other'], ['handler.js', es, undefined, 'handle'],
    ['handler.mjs', 'await null; export const handler = () => "top"', undefined, 'top'], ['worker.js', common, undefined, 'handle']
  ]) {
    const worker = await start(source, { handler }, name)
    assert.equal((await worker.call()).body, expected, `${name} ${handler}`)
  }
  const packaged = await start({ 'package.json': '{"type":"module","main":"lib/a.js"}', 'lib/a.js': 'export default () => "module"' })
  assert.equal((await packaged.call()).body, 'module')
})

test('dependencies and variables', async () => {
  const worker = await start({
    'handler.js': 'const d = require("dep"); module.exports = () => d + process.env.A + process.env.XEBEC_CONTROL',
    'node_modules/dep/index.js': 'module.exports = "dep"'
  }, { variables: { A: '1' } })
  assert.equal((await worker.call()).body, 'dep1undefined')
})

test('what cannot be started', async () => {
  assert.match(await failsToStart('require("nothing")'), /Cannot find module 'nothing'/)
  assert.match(await failsToStart('{'), /SyntaxError/)
  assert.match(await failsToStart('', {}, 'a.txt'), /^no handler found/)
  assert.match(await failsToStart('exports.x = 1'), /^handler.js exports no function/)
  assert.match(await failsToStart('exports.x = 1', { handler: 'handler.x' }), /^handler.js exports no function x/)
  assert.match(await failsToStart('exports.x = 1', { style: 'y' }), /^unknown style "y"/)
  assert.match(await failsToStart({ 'package.json': '{' }), /^package.json cannot be read/)
})

test('exceptions do not end it', async () => {
  const worker = await start(`
    module.exports = (event, context) => {
      const { body } = event
      if (body === 'throw') throw new TypeError('thrown')
      if (body === 'reject') return Promise.reject(new Error('rejected'))
      if (body === 'later') return new Promise(() => setTimeout(() => { throw new Error('later') }, 5))
      if (body === 'unhandled') return new Promise(() => { Promise.reject(new Error('unhandled')) })
      return body
    }`)
  const answers = await Promise.all(['throw', 'reject', 'later', 'unhandled', 'fine'].map(body => worker.call(body)))
  assert.deepEqual(answers.map(answer => answer.status), [500, 500, 500, 500, 200])
  assert.equal(answers[0].headers['x-xebec-error'], 'function')
  assert.match(answers[0].body, /TypeError/)
  assert.equal((await worker.call('x')).body, 'x')
  for (const text of ['thrown', 'rejected', 'later', 'unhandled']) assert.match(worker.err, new RegExp(`Error: ${text}\\n +at .*handler.js`))
})

test('many calls at a time', async () => {
  const worker = await start(`
    let waiting = []
    module.exports = () => new Promise(resolve => {
      waiting.push(resolve)
      if (waiting.length === 50) for (const each of waiting) each('done')
    })`)
  const answers = await Promise.all(Array.from({ length: 50 }, () => worker.call('x')))
  assert.ok(answers.every(answer => answer.body === 'done'))
})

test('stops when told, after its calls', async () => {
  const worker = await start('module.exports = () => new Promise(r => { console.log("in"); setTimeout(r, 200, "done") })')
  await worker.call('x')
  worker.out = ''
  const call = worker.call('x')
  await until(() => worker.out === 'in\n')
  worker.process.kill('SIGTERM')
  assert.equal((await call).body, 'done')
  assert.equal((await worker.gone)[0], 0)
})

test('blanks', async () => {
  const worker = await start('module.exports = () => `${process.env.A} ${process.env.XEBEC_BLANK}`', { blank: true, variables: { A: '1' } })
  assert.equal((await worker.call()).body, '1 undefined')
  const orphan = new Worker({}, { blank: true })
  await until(() => orphan.said === 'blank\n')
  orphan.control.destroy()
  assert.equal((await orphan.gone)[0], 0)
})

test('bytes that are no HTTP', async () => {
  const worker = await start('module.exports = () => "fine"')
  const socket = net.connect(worker.socket)
  socket.end('nonsense\r\n\r\n')
  const [data] = await once(socket, 'data')
  assert.match(data.toString(), /^HTTP\/1.1 400/)
  assert.equal((await worker.call()).body, 'fine')
})

test('the style of OpenFaaS\' templates', async () => {
  const worker = await start({
    'function/handler.js': `
      const other = require('./other')
      module.exports = async (event, context) => {
        if (event.path === '/fail') return context.fail('no')
        if (event.path === '/object') return { statusCode: 3, body: event.body }
        if (event.path === '/headers') return context.headers({ 'Content-Type': 'a/b' }).succeed('x')
        return context.status(201).succeed('<b>' + event.method + other + '</b>')
      }`,
    'function/other.js': 'module.exports = "!"',
    'package.json': '{"main": "handler.js"}'
  }, { style: 'openfaas', handler: 'function/handler' })
  const text = await worker.call('x')
  assert.deepEqual([text.status, text.body, text.headers['content-type']], [201, '<b>POST!</b>', 'text/html; charset=utf-8'])
  const object = await worker.call('x', { path: '/object' })
  assert.deepEqual([object.status, object.body, object.headers['content-type']], [200, '{"statusCode":3,"body":"x"}', 'application/json'])
  assert.equal((await worker.call('x', { path: '/headers' })).headers['content-type'], 'a/b')
  const failed = await worker.call('x', { path: '/fail' })
  assert.deepEqual([failed.status, failed.body], [500, 'no'])
})

test('the style of OpenFaaS\' classic template', async () => {
  const worker = await start(`
    module.exports = (text, done) => {
      if (text === 'promise') return Promise.resolve({ text })
      if (text === 'fail') return done(new Error('no'))
      setImmediate(() => done(undefined, text + '!'))
    }`, { style: 'openfaas-classic' })
  const answer = await worker.call('in', { headers: { 'content-type': 'text/csv' } })
  assert.deepEqual([answer.status, answer.body, answer.headers['content-type']], [200, 'in!', 'text/csv'])
  assert.equal((await worker.call('promise')).body, '{"text":"promise"}')
  assert.equal((await worker.call('fail')).status, 500)
})
