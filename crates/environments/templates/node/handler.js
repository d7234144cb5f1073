'use strict'

// Called for every request.
//
// event    .body (parsed where it is JSON), .headers, .method, .path, .query
// context  .status(code), .headers({...}), .succeed(body), .fail(error)
//
// Return a body, or answer through the context.
module.exports = async (event, context) => {
  const name = event.body?.name ?? parse(event.body)?.name ?? 'World'
  return context.status(200).succeed({ message: `Hello, ${name}!` })
}

function parse (body) {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}
