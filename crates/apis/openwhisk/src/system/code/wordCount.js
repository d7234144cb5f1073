// Counts the words of a text.
function main(params) {
  if (params.payload === undefined || params.payload === null) {
    return { error: "Expected an argument 'payload'." };
  }
  const text = params.payload.toString();
  const count = text.split(' ').length;
  console.log(`The message '${text}' has`, count, 'words');
  return { count };
}
