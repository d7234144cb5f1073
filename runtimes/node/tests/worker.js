'use strict'
// A worker process as the server runs it, for the tests.

const assert = require('node:assert')
const { spawn } = require('node:child_process')
const fs = require('node:fs')
const http = require('node:http')
const os = require('node:os')
const path = require('node:path')
const { once } = require('node:events')
const { after } = require('node:test')

const workers = []
after(() => Promise.all(workers.map(worker => worker.end())))

/** One worker process. */
class Worker {
  constructor (files, { blank = false, ...message } = {}) {
    this.directory = fs.mkdtempSync(path.join(os.tmpdir(), 'worker-'))
    this.code = path.join(this.directory, 'app')
    this.socket = path.join(this.directory, 'http.sock')
    this.agent = new http.Agent({ keepAlive: true })
    for (const [name, text] of Object.entries(files)) {
      fs.mkdirSync(path.dirname(path.join(this.code, name)), { recursive: true })
      fs.writeFileSync(path.join(this.code, name), text)
    }
    const env = { PATH: process.env.PATH, XEBEC_CONTROL: '3', ...(blank ? { XEBEC_BLANK: '1' } : {}) }
    const worker = path.join(__dirname, '..', 'worker.js')
    this.process = spawn(process.execPath, [worker], { env, stdio: ['ignore', 'pipe', 'pipe', 'pipe'] })
    this.control = this.process.stdio[3]
    this.control.on('error', () => {})
    this.out = ''
    this.err = ''
    this.said = ''
    this.process.stdout.on('data', data => { this.out += data })
    this.process.stderr.on('data', data => { this.err += data })
    this.control.on('data', data => { this.said += data })
    this.gone = once(this.process, 'close')
    this.message = JSON.stringify({ code: this.code, socket: this.socket, function: 'test', ...message }) + '\n'
    this.blank = blank
    workers.push(this)
  }

  async ready () {
    if (this.blank) await until(() => this.said === 'blank\n')
    this.control.write(this.message)
    await until(() => this.said.endsWith('ready\n') || this.process.exitCode !== null)
    return this.said.endsWith('ready\n')
  }

  call (body, { path = '/', method, headers = {} } = {}) {
    return new Promise((resolve, reject) => {
      const options = { socketPath: this.socket, agent: this.agent, path, headers, method: method ?? (body === undefined ? 'GET' : 'POST'), signal: AbortSignal.timeout(60_000) }
      const request = http.request(options, async response => {
        const parts = []
        try {
          for await (const part of response) parts.push(part)
        } catch (error) {
          return reject(error)
        }
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(parts).toString() })
      })
      request.once('error', reject)
      request.end(body)
    })
  }

  async end () {
    this.agent.destroy()
    this.process.kill('SIGTERM')
    const [code] = await this.gone
    fs.rmSync(this.directory, { recursive: true, force: true })
    return code
  }
}

async function until (condition) {
  const deadline = Date.now() + 60_000
  while (!condition()) {
    assert.ok(Date.now() < deadline, 'waited too long')
    await new Promise(resolve => setTimeout(resolve, 2))
  }
}

module.exports = { Worker, until }
