// Greets whoever is named.
function main(params) {
  console.log('params:', params);
  const name = params.name || params.payload || 'stranger';
  const place = params.place || 'somewhere';
  return { payload: `Hello, ${name} from ${place}!` };
}
