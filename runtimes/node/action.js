'use strict'
// Loading an action: from source text, or from a folder that was a zip file.

const fs = require('node:fs')
const Module = require('node:module')
const os = require('node:os')
const path = require('node:path')
const { Fault, bring, isEsModule, resolve } = require('./loading.js')

/** The file that holds an action's text. */
const SOURCE = 'exec'
/** Names joined by dots: all that is ever made part of a program. */
const PATH = /^[\p{ID_Start}$_][\p{ID_Continue}$]*(\.[\p{ID_Start}$_][\p{ID_Continue}$]*)*$/u

/** Lets actions see the packages that this machine has for everybody, as OpenWhisk's images have some. */
function seePackagesOfTheMachine () {
  const own = process.env.NODE_PATH
  const machine = path.resolve(process.execPath, '../../lib/node_modules')
  process.env.NODE_PATH = own ? own + path.delimiter + machine : machine
  Module._initPaths()
  if (own) process.env.NODE_PATH = own
  else delete process.env.NODE_PATH
}

/** The action in a folder. */
async function fromFolder (code, main) {
  const has = name => fs.existsSync(path.join(code, name))
  const packed = has('package.json') || has('index.js')
  if (!packed && has(SOURCE)) return fromText(fs.readFileSync(path.join(code, SOURCE), 'utf8'), code, main)
  // `file.name`: all behind the first dot is a path in what the file exports.
  const cut = main.indexOf('.')
  if (cut < 0 && !packed) throw new Fault('Zipped actions must contain either package.json or index.js at the root.')
  const loaded = cut < 0 ? await fromPackage(code) : await bring(resolve(code, main.slice(0, cut)) ?? path.join(code, main.slice(0, cut)))
  const names = main.slice(cut + 1).split('.')
  return callable(follow(loaded, names) ?? follow(loaded?.default, names), main)
}

/** What the folder exports as a package: its `main`, or index.js. */
function fromPackage (code) {
  const file = Module.createRequire(path.join(code, SOURCE)).resolve(code)
  return bring(file)
}

function follow (value, names) {
  for (const name of names) value = value?.[name]
  return value
}

/** The action that a text defines: as a variable or function of its own, a global one, or an export. */
async function fromText (text, code, main) {
  if (!PATH.test(main)) throw new Fault('Name of main function is not valid.')
  const file = path.join(code, SOURCE)
  const module = new Module(file)
  module.filename = file
  module.paths = Module._nodeModulePaths(code)
  // What a text calls `module` or `exports` is its own: hence a function within the module's. On one line with
  // the text's first, so that lines keep their numbers.
  const whole = 'return (function () { ' + text + `
    try { return ${main} } catch (error) {
      if (error.name !== 'ReferenceError') throw error
      return module.exports.${main} || exports.${main}
    }
  })()`
  let found
  try {
    found = module._compile(whole, file, 'commonjs')
  } catch (error) {
    if (!isEsModule(error, file)) throw error
    found = follow(await asEsModule(text), main.split('.'))
  }
  return callable(found, main)
}

/** A text with `import` or `export` is loaded from a file whose name says so. */
async function asEsModule (text) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'action-'))
  const file = path.join(folder, SOURCE + '.mjs')
  fs.writeFileSync(file, text)
  return bring(file)
}

function callable (found, main) {
  if (typeof found === 'function') return found
  throw new Fault(`Action entrypoint '${main}' is not a function.`)
}

module.exports = { Fault, fromFolder, fromText, seePackagesOfTheMachine }
