// What this does is part of the server: a copy of it has nothing to work with.
function main() {
  return { error: 'This action works in /whisk.system only. Call or bind that one instead of copying it.' };
}
