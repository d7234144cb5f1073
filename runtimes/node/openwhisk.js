'use strict'
// The style `openwhisk`: the worker is told its action over HTTP, `POST /init`, and calls it for each `POST /run`.

const http = require('node:http')
const os = require('node:os')
const path = require('node:path')
const { Fault, fromFolder, fromText, seePackagesOfTheMachine } = require('./action.js')
const { OPTIONS, listen } = require('./serving.js')

/** Printed on both streams behind what an activation printed. */
const MARK = 'XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX\n'

/** Serves `/init` and `/run` until the process is told to stop. Resolves once it listens. */
function serve (code, socket) {
  const action = new Action(code, new Marks([process.stdout, process.stderr]))
  const server = createServer(action)
  process.once('SIGTERM', () => {
    action.stopping = true
    server.close(() => process.exit(0))
    server.closeIdleConnections()
  })
  return listen(server, socket)
}

/** Runs an action that does nothing, once: a blank then has behind it what a first call takes longer for. */
async function warmUp () {
  void [process.stdout, process.stderr] // built when first looked at
  const socket = path.join(os.tmpdir(), `xebec-${process.pid}-action.sock`)
  const server = createServer(new Action('', new Marks([])))
  await listen(server, socket)
  await post(socket, '/init', { value: { main: 'main', code: 'function main (params) { return params }' } })
  await post(socket, '/run', { value: {}, activation_id: '0' })
  delete process.env.__OW_ACTIVATION_ID
  await new Promise(resolve => server.close(resolve))
}

function post (socket, path, message) {
  return new Promise((resolve, reject) => {
    const options = { socketPath: socket, path, method: 'POST', headers: { connection: 'close' } }
    const request = http.request(options, response => response.resume().once('end', resolve))
    request.once('error', reject)
    request.end(JSON.stringify(message))
  })
}

function createServer (action) {
  return http.createServer(OPTIONS, (request, response) => {
    const parts = []
    request.on('data', part => parts.push(part))
    request.on('end', () => action.serve(request.url, parts.length === 1 ? parts[0] : Buffer.concat(parts), response))
  })
}

/**
 * Marks where the output of an activation ends. Where nothing was printed there is nothing to mark, and the answer
 * says so: writing marks, and reading them at the other end, is much of what a short call takes. What is written past
 * the streams, by child processes above all, is not seen here.
 */
class Marks {
  #streams
  #printed = false

  constructor (streams) {
    this.#streams = streams.map(stream => {
      const write = stream.write.bind(stream)
      stream.write = (...what) => {
        this.#printed = true
        return write(...what)
      }
      return { stream, write }
    })
  }

  /** Marks what was printed since the last time; `then` follows when that is out, and is told whether there was any. */
  end (then) {
    if (!this.#printed) return then(false)
    this.#printed = false
    for (const { write } of this.#streams) write(MARK)
    // Pipes take it at once unless they are full.
    if (this.#streams.every(({ stream }) => stream.writableLength === 0)) return then(true)
    this.#flush(0, () => then(true))
  }

  #flush (at, then) {
    if (at === this.#streams.length) return then()
    this.#streams[at].write('', () => this.#flush(at + 1, then))
  }
}

/** The one action of this process. What it throws outside of its own promise ends the process, as in any other. */
class Action {
  #code
  #marks
  #main
  #known = false
  #told = Object.create(null)

  constructor (code, marks) {
    this.#code = code
    this.#marks = marks
    this.stopping = false
  }

  serve (path, body, response) {
    let message
    try {
      message = JSON.parse(body.toString())
    } catch {
      return this.#refuse(response, 500, 'Bad request.')
    }
    if (path === '/run') return this.#run(message, response)
    if (path === '/init') return this.#init(message?.value ?? {}, response)
    this.#refuse(response, 500, 'Bad request.')
  }

  async #init ({ main = 'main', code, binary, env }, response) {
    if (this.#known) {
      console.error('Internal system error: Cannot initialize the action more than once.')
      return this.#refuse(response, 403, 'Cannot initialize the action more than once.')
    }
    if (code === '' || main === '') return this.#refuse(response, 403, 'Missing main/no code to execute.')
    this.#known = true
    for (const [name, value] of Object.entries(env ?? {})) process.env[name] = variable(value)
    try {
      seePackagesOfTheMachine()
      if (code !== undefined && binary) throw new Fault('There was an error uncompressing the action archive.')
      this.#main = code === undefined ? await fromFolder(this.#code, main) : await fromText(code, this.#code, main)
    } catch (error) {
      const why = error instanceof Fault ? error.message : error
      console.error('Error during initialization:', why)
      return this.#marks.end(() => this.#refuse(response, 502, `Initialization has failed due to: ${why?.stack || why}`))
    }
    this.#answer(response, 200, '{"OK":true}')
  }

  #run (message, response) {
    const main = this.#main
    if (main === undefined) return this.#refuse(response, 403, 'System not initialized.')
    const value = message.value ?? {}
    if (typeof value !== 'object') {
      return this.#refuse(response, 403, `Internal system error: the argument must be a dictionary but has type '${typeof value}'.`)
    }
    for (const name in message) {
      if (name !== 'value' && message[name] !== this.#told[name]) this.#tell(name, message[name])
    }
    let result
    try {
      result = main(value)
    } catch (error) {
      return this.#threw(response, error)
    }
    if (typeof result?.then !== 'function') return this.#returned(response, result)
    // Its own fault if it rejects: the caller is told, and the next call goes on here.
    Promise.resolve(result).then(
      result => this.#returned(response, result),
      error => this.#returned(response, { error: error ? plain(error, []) : {} })
    )
  }

  /** What stands beside the parameters are variables. Most are the same for every call, and setting one is slow. */
  #tell (name, value) {
    if (typeof value !== 'string') return
    process.env['__OW_' + name.toUpperCase()] = value
    this.#told[name] = value
  }

  #returned (response, result) {
    if (result === undefined) result = {}
    if (typeof result !== 'object' || result === null) {
      console.error(`Result must be of type object but has type "${typeof result}":`, result)
      return this.#marks.end(() => this.#refuse(response, 502, 'The action did not return a dictionary.'))
    }
    let text
    try {
      text = JSON.stringify(result)
    } catch (error) {
      return this.#threw(response, error)
    }
    this.#marks.end(printed => this.#answer(response, 200, text, !printed))
  }

  #threw (response, error) {
    console.error(error)
    this.#marks.end(() => this.#refuse(response, 502, `An error has occurred: ${error}`))
  }

  #refuse (response, status, error) {
    this.#answer(response, status, JSON.stringify({ error }))
  }

  #answer (response, status, text, quiet) {
    const headers = ['content-type', 'application/json', 'content-length', Buffer.byteLength(text)]
    if (quiet) headers.push('x-xebec-quiet', '1')
    if (this.stopping) headers.push('connection', 'close')
    response.sendDate = false
    response.writeHead(status, headers)
    response.end(text)
  }
}

/** A value as an environment variable. */
function variable (value) {
  if (value === null || value === undefined || value === false) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

/** What was thrown as JSON can say it: errors with their name, message and trace, nothing twice in itself. */
function plain (value, above) {
  if (typeof value === 'function') return `[Function: ${value.name || 'anonymous'}]`
  if (typeof value === 'bigint' || typeof value === 'symbol') return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (above.includes(value)) return '[Circular]'
  if (Buffer.isBuffer(value)) return '[object Buffer]'
  if (typeof value.pipe === 'function') return '[object Stream]'
  if (typeof value.toJSON === 'function') return value.toJSON()
  above = [...above, value]
  if (Array.isArray(value)) return value.map(each => plain(each, above))
  const names = value instanceof Error ? ['name', 'message', 'stack', 'cause', 'code', ...Object.keys(value)] : Object.keys(value)
  const found = {}
  for (const name of names) {
    if (value[name] !== undefined && typeof value[name] !== 'function') found[name] = plain(value[name], above)
  }
  return found
}

module.exports = { serve, warmUp }
