'use strict'
// What the scripts share: a client of the server under test, and how to wait for things and to expect failures.

const assert = require('node:assert/strict')
const fs = require('node:fs')
const path = require('node:path')
const openwhisk = require('openwhisk')

const { TEST_URL: url, TEST_KEY: key, TEST_FILES: files } = process.env

/** How long anything may take that is waited for; far more than it needs. */
const PATIENCE = 60_000

const client = (options = {}) => openwhisk({ apihost: url, api_key: key, ...options })
const ow = client()

/** A file that the test made, such as an archive. */
const file = name => fs.readFileSync(path.join(files, name))

const pause = milliseconds => new Promise(resolve => setTimeout(resolve, milliseconds))

/** Asks again until the answer is neither false nor an error 404. */
async function eventually (what, ask) {
  const began = Date.now()
  for (;;) {
    const answer = await Promise.resolve().then(ask).catch(error => {
      if (error.statusCode !== 404) throw error
    })
    if (answer) return answer
    assert.ok(Date.now() - began < PATIENCE, `waited in vain: ${what}`)
    await pause(50)
  }
}

/** An activation, as soon as it is recorded. */
const activation = id => eventually(`activation ${id}`, () => ow.activations.get(id))

/** Expects a failure with this status, and returns it. */
async function fails (status, promise) {
  const error = await promise.then(
    answer => assert.fail(`expected ${status}, but it succeeded: ${JSON.stringify(answer)}`),
    error => error)
  assert.equal(error.statusCode, status, error.message)
  return error
}

/** Expects an error of the platform: status, text, and the id of the transaction. */
async function refused (status, text, promise) {
  const { error } = await fails(status, promise)
  if (text instanceof RegExp) assert.match(error.error, text)
  else assert.equal(error.error, text)
  assert.ok(error.code, 'there is the id of the transaction')
}

/** The value of an annotation or a parameter. */
const value = (list, key) => list.find(entry => entry.key === key)?.value

module.exports = { activation, client, eventually, fails, file, key, ow, refused, url, value }
