'use strict'

exports.greet = ({ name = 'stranger' }) => {
  console.log('greeting', name)
  return { greeting: `Hello ${name}` }
}

exports.shout = ({ greeting, mark }) => ({ greeting: greeting.toUpperCase() + mark })

exports.fails = () => ({ error: 'no such luck' })

exports.tick = params => params
