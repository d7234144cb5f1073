'use strict'
// The Node worker: runs one function and serves it as HTTP/1.1 on a Unix socket. See runtimes/README.md for
// how it is told what to run. It needs Node 18 or later and nothing else.

const net = require('node:net')
const os = require('node:os')
const path = require('node:path')
const { load } = require('./loading.js')
const { serve, warmUp } = require('./serving.js')

// What handlers usually need; loaded while a blank waits.
const PRELOADED = [
  'assert', 'buffer', 'child_process', 'crypto', 'dns', 'events', 'fs', 'fs/promises', 'http', 'https', 'module', 'os',
  'path', 'querystring', 'stream', 'stream/promises', 'timers/promises', 'tls', 'url', 'util', 'worker_threads', 'zlib'
]

function main () {
  const control = new net.Socket({ fd: Number(process.env.XEBEC_CONTROL) })
  const blank = process.env.XEBEC_BLANK
  delete process.env.XEBEC_CONTROL
  delete process.env.XEBEC_BLANK
  control.once('error', fail)
  readLine(control, line => start(control, JSON.parse(line)).catch(fail))
  if (blank) preload().then(() => control.write('blank\n'), fail)
}

async function preload () {
  for (const name of PRELOADED) require('node:' + name)
  // The globals that are built when first looked at.
  for (const name of ['fetch', 'Headers', 'Request', 'Response', 'FormData', 'AbortController', 'TextDecoder', 'URL']) {
    void globalThis[name]
  }
  await warmUp(path.join(os.tmpdir(), `xebec-${process.pid}.sock`))
  await require('./openwhisk.js').warmUp()
}

function readLine (socket, then) {
  const parts = []
  const take = data => {
    parts.push(data)
    if (data[data.length - 1] !== 10) return
    socket.off('data', take)
    socket.off('close', gone)
    then(Buffer.concat(parts).toString())
  }
  const gone = () => process.exit(0) // the server is gone
  socket.on('data', take)
  socket.once('close', gone)
}

async function start (control, message) {
  const code = message.code || '/app'
  Object.assign(process.env, message.variables)
  process.chdir(code)
  const socket = message.socket || '/run/xebec/http.sock'
  if (message.style === 'openwhisk') {
    // What to run it is told by `/init`.
    await require('./openwhisk.js').serve(code, socket)
    return control.end('ready\n')
  }
  const { target, style } = await load(code, message.handler, message.style)
  await serve(target, style, message.function || '', socket)
  control.end('ready\n')
}

function fail (error) {
  console.error(error instanceof Error && error.code === 'XEBEC' ? error.message : error)
  process.exit(1)
}

main()
