'use strict'
// Finding and loading the function's code.

const fs = require('node:fs')
const path = require('node:path')
const { pathToFileURL } = require('node:url')
const { createRequire } = require('node:module')

// Where a handler is looked for when the function does not name one.
const FILES = ['handler', 'index', 'main', 'app', 'server', 'function', 'function/handler']
const EXTENSIONS = ['.js', '.mjs', '.cjs']
const NAMES = ['handle', 'handler', 'main', 'app']
const STYLES = ['event-context', 'json', 'http', 'openfaas', 'openfaas-classic']

/** A fault of the function's, told in one sentence without a trace. */
class Fault extends Error {
  code = 'XEBEC'
}

/** Loads the handler; returns it with the style in which it is called. */
async function load (code, handler, style) {
  if (style && !STYLES.includes(style)) {
    throw new Fault(`unknown style ${JSON.stringify(style)}: use one of ${STYLES.join(', ')}, openwhisk`)
  }
  const { file, name } = find(code, handler)
  const { target, found } = entry(await bring(file), name, path.relative(code, file))
  return { target, style: style || guess(target, found) }
}

/** The file of a handler, and the name in it where one was given. */
function find (code, handler) {
  if (!handler) return { file: usual(code) }
  const whole = resolve(code, handler)
  if (whole) return { file: whole }
  const cut = Math.max(handler.lastIndexOf('.'), handler.lastIndexOf(':'))
  const name = handler.slice(cut + 1)
  if (cut < 0) return { file: usual(code), name }
  const file = resolve(code, handler.slice(0, cut))
  if (!file) throw new Fault(`the handler ${JSON.stringify(handler)} names no file of the code`)
  return { file, name }
}

function resolve (code, name) {
  const base = path.join(code, name.replaceAll(':', '.'))
  return [base, ...EXTENSIONS.map(extension => base + extension)].find(isFile)
}

function usual (code) {
  const main = mainOfPackage(code)
  if (main) return main
  for (const name of FILES) {
    const file = resolve(code, name)
    if (file) return file
  }
  const files = fs.readdirSync(code).filter(name => EXTENSIONS.includes(path.extname(name)))
  if (files.length === 1) return path.join(code, files[0])
  throw new Fault('no handler found: name one (handler = "file.function"), or add handler.js with module.exports = ' +
    'async (event, context) => …')
}

function mainOfPackage (code) {
  let main
  try {
    main = JSON.parse(fs.readFileSync(path.join(code, 'package.json'), 'utf8')).main
  } catch (error) {
    if (error.code === 'ENOENT') return
    throw new Fault(`package.json cannot be read: ${error.message}`)
  }
  // `npm init` writes index.js there, whether it exists or not.
  return typeof main === 'string' ? resolve(code, main) : undefined
}

function isFile (file) {
  return fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false
}

/** Loads a file as what it is. `require` is the faster one; it refuses ES modules. */
async function bring (file) {
  if (!file.endsWith('.mjs')) {
    try {
      return createRequire(file)(file)
    } catch (error) {
      if (!isEsModule(error, file)) throw error
    }
  }
  return import(pathToFileURL(file).href)
}

function isEsModule (error, file) {
  if (error.code === 'ERR_REQUIRE_ESM' || error.code === 'ERR_REQUIRE_ASYNC_MODULE') return true
  // A .js file with `import` in a package that does not say "type": "module".
  return error instanceof SyntaxError && String(error.stack).startsWith(file) &&
    /import statement outside a module|Unexpected token 'export'|Cannot use 'import\.meta'|await is only valid/.test(error.message)
}

function entry (loaded, name, where) {
  const inner = loaded && loaded.default
  if (name) {
    const target = loaded[name] ?? (inner && inner[name])
    if (typeof target === 'function') return { target, found: name }
    throw new Fault(`${where} exports no function ${name}`)
  }
  for (const each of [loaded, inner, inner && inner.default]) {
    if (typeof each === 'function') return { target: each, found: 'handle' }
  }
  for (const found of NAMES) {
    const target = loaded[found] ?? (inner && inner[found])
    if (typeof target === 'function') return { target, found }
  }
  throw new Fault(`${where} exports no function: expected module.exports, a default export or one of ${NAMES.join(', ')}`)
}

/** The calling style, from the names of the handler's arguments. */
function guess (target, found) {
  const [, list = ''] = /^[^(]*\(([^)]*)\)|^/.exec(Function.prototype.toString.call(target)) || []
  const names = list.split(',').map(name => name.trim().replace(/\s*=.*$/, ''))
  if (/^_?(req|request)$/.test(names[0]) && /^_?(res|resp|response|reply)$/.test(names[1] || '')) return 'http'
  if (typeof target.handle === 'function' && typeof target.use === 'function') return 'http' // an Express application
  return found === 'main' ? 'json' : 'event-context'
}

module.exports = { Fault, bring, isEsModule, load, resolve }
