// Prints a line: see it with `wsk activation logs`.
function main(params) {
  console.log('hello', `${params.payload}!`);
  return {};
}
