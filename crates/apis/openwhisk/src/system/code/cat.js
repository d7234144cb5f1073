// Joins lines.
function main({ lines = [] }) {
  return { lines, payload: lines.join('\n') };
}
