// Fetches what is at a URL.
async function main(params) {
  if (typeof params.payload !== 'string' || params.payload === '') {
    return { error: "Expected an argument 'payload' of type 'string'." };
  }
  const url = params.payload.includes('://') ? params.payload : `http://${params.payload}`;
  console.log(`Curl to ${url}`);
  try {
    const answer = await fetch(url, { signal: AbortSignal.timeout(10000) });
    return { msg: await answer.text() };
  } catch (error) {
    const why = error.cause ? error.cause.message : error.message;
    console.log(why);
    return { msg: why };
  }
}
