// Splits a text into lines.
function main({ payload, separator }) {
  if (payload === undefined || payload === null) return { error: "Expected an argument 'payload'." };
  return { lines: payload.toString().split(separator || /\r?\n/), payload };
}
