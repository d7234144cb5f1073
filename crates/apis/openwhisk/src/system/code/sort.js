// Sorts lines.
function main({ lines = [] }) {
  lines.sort();
  return { lines, length: lines.length };
}
