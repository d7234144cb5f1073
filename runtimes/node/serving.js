'use strict'
// Serving calls: one HTTP server on the Unix socket, and the ways in which functions may want to be called.

const http = require('node:http')
const { AsyncLocalStorage } = require('node:async_hooks')

/** The answer of the call that the running code belongs to. */
const current = new AsyncLocalStorage()

/** Serves `target` until the process is told to stop. Resolves once calls are taken. */
function serve (target, style, name, socket) {
  const server = createServer(target, style, name)
  survive()
  process.once('SIGTERM', () => {
    server.stopping = true
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  })
  return listen(server, socket)
}

/**
 * Serves a function that does nothing, once: most of a first call's time goes into code that the engine has not
 * seen before, and a blank can have that behind it.
 */
async function warmUp (socket) {
  const server = createServer(async (event, context) => context.status(200).succeed({ body: event.body }), 'event-context', '')
  await listen(server, socket)
  await new Promise((resolve, reject) => {
    const options = { socketPath: socket, method: 'POST', headers: { 'content-type': 'application/json', connection: 'close' } }
    const request = http.request(options, response => response.resume().once('end', resolve))
    request.once('error', reject)
    request.end('{}')
  })
  await new Promise(resolve => server.close(resolve))
}

function listen (server, socket) {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ path: socket, backlog: 128 }, resolve)
  })
}

/** How a function of each style is called. */
const WAYS = {
  http: target => (request, response) => target(request, response),
  json: (target, name) => (request, response) => callWithJson(target, name, request, response),
  'event-context': (target, name) => (request, response) => callWithEvent(target, name, request, response, writeResult),
  // OpenFaaS' templates answer through Express, whose text is HTML, and know no descriptions of responses.
  openfaas: (target, name) => (request, response) => callWithEvent(target, name, request, response, writeHtml),
  'openfaas-classic': target => (request, response) => callWithText(target, request, response)
}

/** How long a call may take is the other side's to say. */
const OPTIONS = { requestTimeout: 0, headersTimeout: 0, keepAliveTimeout: 0, maxHeaderSize: 1 << 20 }

function createServer (target, style, name) {
  const answer = WAYS[style](target, name)
  const server = http.createServer(OPTIONS, (request, response) => {
    response.once('close', () => server.stopping && setImmediate(() => server.closeIdleConnections()))
    current.run(response, run, answer, request, response)
  })
  // Without a listener, requests for an upgrade are answered like any other.
  if (style === 'http' && typeof target.upgrade === 'function') {
    server.on('upgrade', (request, socket, head) => target.upgrade(request, socket, head))
  }
  return server
}

async function run (answer, request, response) {
  try {
    await answer(request, response)
  } catch (error) {
    fail(response, error)
  }
}

/** Answers a call whose function threw. The trace is for the log only. */
function fail (response, error) {
  console.error(error)
  if (response.headersSent) return response.destroy()
  const name = error instanceof Error ? error.name : typeof error
  for (const header of response.getHeaderNames()) response.removeHeader(header)
  response.writeHead(500, { 'content-type': 'text/plain; charset=utf-8', 'x-xebec-error': 'function' })
  response.end(`the function threw ${name}; its log has the trace\n`)
}

/** What is thrown outside of a call's own promise fails that call, and does not end the worker. */
function survive () {
  const take = error => {
    const response = current.getStore()
    if (response && !response.writableEnded) fail(response, error)
    else console.error(error)
  }
  process.on('uncaughtException', take)
  process.on('unhandledRejection', take)
}

async function readBody (request) {
  const parts = []
  for await (const part of request) parts.push(part)
  return parts.length === 1 ? parts[0] : Buffer.concat(parts)
}

/** The request as `(event, context)` sees it. */
class Event {
  constructor (request, body) {
    const cut = request.url.indexOf('?')
    this.method = request.method
    this.path = cut < 0 ? request.url : request.url.slice(0, cut)
    this.queryString = cut < 0 ? '' : request.url.slice(cut + 1)
    this.headers = request.headers
    this.rawBody = body
    this.body = decode(request.headers['content-type'] || 'text/plain', body)
  }

  get query () {
    const query = {}
    for (const [name, value] of new URLSearchParams(this.queryString)) {
      query[name] = name in query ? [].concat(query[name], value) : value
    }
    Object.defineProperty(this, 'query', { value: query, enumerable: true, writable: true })
    return query
  }
}

/** A body as its content type says: JSON and forms as objects, text as a string, the rest as bytes. */
function decode (type, body) {
  if (process.env.RAW_BODY === 'true') return body
  type = type.split(';')[0].trim().toLowerCase()
  if (type === 'application/json' || type.endsWith('+json')) {
    if (body.length === 0) return {}
    try {
      return JSON.parse(body.toString())
    } catch (error) {
      throw new BadBody(`the body is not JSON: ${error.message}`)
    }
  }
  if (type === 'application/x-www-form-urlencoded') {
    const form = {}
    for (const [name, value] of new URLSearchParams(body.toString())) {
      form[name] = name in form ? [].concat(form[name], value) : value
    }
    return form
  }
  return type.startsWith('text/') ? body.toString() : body
}

/** The caller's fault, not the function's. */
class BadBody extends Error {}

/** What surrounds a call, and how the function answers it. */
class Context {
  #status = 200
  #headers = {}
  #done

  constructor (request, name, done) {
    this.functionName = name
    this.callId = request.headers['x-call-id'] || ''
    this.#done = done
  }

  status (status) {
    if (!status) return this.#status
    this.#status = status
    return this
  }

  headers (headers) {
    if (!headers) return this.#headers
    this.#headers = headers
    return this
  }

  succeed (value) {
    this.#done({ value })
  }

  fail (error) {
    if (this.#status === 200) this.#status = 500
    this.#done({ error: error ?? 'the function failed' })
  }
}

async function callWithEvent (target, name, request, response, answer) {
  const body = await readBody(request)
  let event
  try {
    event = new Event(request, body)
  } catch (error) {
    if (!(error instanceof BadBody)) throw error
    response.writeHead(400, { 'content-type': 'text/plain; charset=utf-8' })
    return response.end(error.message + '\n')
  }
  const outcome = await new Promise((resolve, reject) => {
    let answered = false
    const done = outcome => {
      answered = true
      resolve({ ...outcome, status: context.status(), headers: context.headers() })
    }
    const context = new Context(request, name, done)
    const callback = (error, value) => error ? context.fail(error) : context.succeed(value)
    const result = target(event, context, callback)
    // One that takes a callback may answer through it later, and returns nothing.
    const later = target.length > 2 && result === undefined
    if (!later) Promise.resolve(result).then(value => answered || done({ value }), reject)
  })
  if (outcome.error !== undefined) {
    console.error(outcome.error)
    setStatus(response, outcome.status)
    setHeaders(response, outcome.headers)
    return write(response, outcome.error instanceof Error ? String(outcome.error) : outcome.error)
  }
  setStatus(response, outcome.status)
  setHeaders(response, outcome.headers)
  return answer(response, outcome.value)
}

/** `(text, callback)`, as a process per call that reads its input and prints its answer. */
async function callWithText (target, request, response) {
  const text = (await readBody(request)).toString()
  const value = await new Promise((resolve, reject) => {
    const result = target(text, (error, value) => error ? reject(error) : resolve(value))
    if (typeof result?.then === 'function') result.then(resolve, reject)
  })
  response.setHeader('content-type', request.headers['content-type'] || 'text/plain')
  return write(response, value)
}

async function callWithJson (target, name, request, response) {
  const body = await readBody(request)
  let event = null
  if (body.length > 0) {
    try {
      event = JSON.parse(body.toString())
    } catch {
      event = body.toString()
    }
  }
  return writeResult(response, await target(event, new Context(request, name, () => {})))
}

/** Sends what a function returned: an object with `statusCode` describes a response, all else is a body. */
function writeResult (response, value) {
  if (typeof value !== 'object' || value === null || !Number.isInteger(value.statusCode)) return write(response, value)
  setStatus(response, value.statusCode)
  setHeaders(response, value.headers)
  return write(response, value.isBase64Encoded ? Buffer.from(String(value.body), 'base64') : value.body)
}

function writeHtml (response, value) {
  return write(response, value, 'text/html; charset=utf-8')
}

function setStatus (response, status) {
  const number = Number(status)
  if (!(number >= 200 && number <= 999)) throw new RangeError(`not an HTTP status: ${status}`)
  response.statusCode = number
}

function setHeaders (response, headers) {
  for (const [name, value] of headers instanceof Map || headers instanceof Headers ? headers : Object.entries(headers ?? {})) {
    if (value !== undefined) response.setHeader(name, value)
  }
}

/** Sends a value as the body: text and bytes as they are, streams as they come, the rest as JSON. */
async function write (response, value, text = 'text/plain; charset=utf-8') {
  const type = kind => response.hasHeader('content-type') || response.setHeader('content-type', kind)
  if (value === undefined || value === null) return response.end()
  if (typeof value === 'string') {
    type(text)
    return response.end(value)
  }
  if (value instanceof Uint8Array || value instanceof ArrayBuffer) {
    type('application/octet-stream')
    return response.end(value instanceof ArrayBuffer ? new Uint8Array(value) : value)
  }
  if (typeof value[Symbol.asyncIterator] === 'function' || typeof value.next === 'function') {
    type(text)
    for await (const part of value) {
      if (response.destroyed) return
      if (!response.write(part)) await drained(response)
    }
    return response.end()
  }
  type('application/json')
  return response.end(JSON.stringify(value))
}

function drained (response) {
  return new Promise(resolve => {
    const go = () => {
      response.off('drain', go)
      response.off('close', go)
      resolve()
    }
    response.on('drain', go)
    response.on('close', go)
  })
}

module.exports = { OPTIONS, listen, serve, warmUp }
