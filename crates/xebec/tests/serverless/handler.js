'use strict'

exports.greet = ({ name, by }) => {
  console.log('greeting', name)
  return { greeting: `Hello ${name}`, by }
}

exports.shout = ({ greeting }) => ({ greeting: greeting.toUpperCase() })

exports.fails = () => ({ error: 'no such luck' })

exports.tick = params => params
