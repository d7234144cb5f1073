// Says what time it is.
function main() {
  return { date: new Date().toISOString() };
}
