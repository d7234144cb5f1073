// Says where an action or a trigger is called.
function main({ web, ext, trigger, path }) {
  const extensions = ['.html', '.http', '.json', '.svg', '.text'];
  if (web === true && trigger) return { error: 'triggers are not allowed for web actions.' };
  if (trigger && path && path.includes('/')) return { error: 'triggers are not allowed in packages.' };
  if (web === true && ext && !extensions.includes(ext)) {
    return { error: `extension for web action must be one of ${JSON.stringify(extensions)}.` };
  }
  const api = `${process.env.__OW_API_HOST}/api/v1`;
  const namespace = process.env.__OW_NAMESPACE;
  const collection = trigger === true ? 'triggers' : 'actions';
  const base = web === true ? `${api}/web/${namespace}` : `${api}/namespaces/${namespace}/${collection}`;
  if (!path) return { url: base };
  if (web !== true) return { url: `${base}/${path}` };
  return { url: `${base}/${path.includes('/') ? path : `default/${path}`}${ext || ''}` };
}
