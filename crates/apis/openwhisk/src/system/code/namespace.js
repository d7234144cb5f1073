// Says on whose behalf it is called.
function main() {
  return { namespace: process.env.__OW_NAMESPACE };
}
