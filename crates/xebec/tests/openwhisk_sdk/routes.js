'use strict'
// Routes: the gateway in front of web actions.

const assert = require('node:assert/strict')
const { test } = require('node:test')
const { eventually, fails, ow, url } = require('./client')

const code = `function main (params) {
  return { statusCode: 200, body: { method: params.__ow_method, path: params.__ow_path, name: params.name } }
}`

test('routes are made, listed, called and deleted', async () => {
  const web = { 'web-export': true, 'raw-http': false, final: true }
  await ow.actions.create({ name: 'served', action: code, annotations: web })
  const created = await ow.routes.create({ name: 'shop', basepath: '/shop', relpath: '/greet', operation: 'get', action: 'served', responsetype: 'http' })
  assert.ok(created.gwApiUrl, JSON.stringify(created))
  assert.equal(created.apidoc.basePath, '/shop')
  assert.equal(created.apidoc.info.title, 'shop')
  await ow.routes.create({ basepath: '/shop', relpath: '/greet', operation: 'post', action: 'served', responsetype: 'http' })
  await ow.routes.create({ basepath: '/shop', relpath: '/items/{id}', operation: 'get', action: 'served', responsetype: 'http' })

  const error = await ow.routes.create({ basepath: '/shop', relpath: '/text/{id}', operation: 'get', action: 'served', responsetype: 'text' })
    .then(() => assert.fail('only .http actions are told the path'), error => error)
  assert.ok(error.statusCode >= 400, error.message)

  const { apis } = await ow.routes.list()
  assert.equal(apis.length, 1)
  const [{ value }] = apis
  assert.deepEqual(Object.keys(value.apidoc.paths).sort(), ['/greet', '/items/{id}'])
  assert.deepEqual(Object.keys(value.apidoc.paths['/greet']).sort(), ['get', 'post'])
  assert.equal(value.apidoc.paths['/greet'].get['x-openwhisk'].action, 'served')
  assert.equal((await ow.routes.get({ basepath: '/shop' })).apis.length, 1)
  assert.equal((await ow.routes.get({ basepath: '/no-shop' })).apis.length, 0)

  const at = new URL(value.gwApiUrl, url)
  const call = async (path, init) => {
    const response = await fetch(`${url}${at.pathname}${path}`, init)
    return { status: response.status, body: await response.text() }
  }
  const answer = await call('/greet?name=Ada')
  assert.equal(answer.status, 200, answer.body)
  assert.deepEqual(JSON.parse(answer.body), { method: 'get', path: '/shop/greet', name: 'Ada' })
  const posted = await call('/greet', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"name":"Grace"}' })
  assert.deepEqual(JSON.parse(posted.body), { method: 'post', path: '/shop/greet', name: 'Grace' })
  const item = await call('/items/7')
  assert.deepEqual(JSON.parse(item.body), { method: 'get', path: '/shop/items/7' })
  assert.equal((await call('/nowhere')).status, 404)

  await ow.routes.delete({ basepath: '/shop', relpath: '/greet', operation: 'POST' })
  await eventually('the operation is gone', async () => (await call('/greet', { method: 'POST' })).status !== 200)
  assert.equal((await call('/greet')).status, 200)
  await ow.routes.delete({ basepath: '/shop' })
  assert.equal((await call('/greet')).status, 404)
  assert.equal((await ow.routes.list()).apis.length, 0)
  const gone = await fails(502, ow.routes.delete({ basepath: '/shop' }))
  assert.match(gone.message, /API '\/shop' does not exist/)
  await ow.actions.delete('served')
})
