// Answers what it is told.
function main(params) {
  return params;
}
