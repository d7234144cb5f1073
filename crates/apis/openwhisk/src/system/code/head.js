// The first lines of several.
function main(params) {
  const num = params.num || 1;
  return { lines: (params.lines || []).slice(0, num), num };
}
