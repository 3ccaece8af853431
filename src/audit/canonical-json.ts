/**
 * The canonical text of a JSON value after RFC 8785: keys sorted by UTF-16 code units, no white space, numbers and strings as
 * ECMAScript writes them. One addition: a lone surrogate, which the RFC refuses, stands as its escape (`\ud800`), since
 * events may hold one. What `JSON.parse` returns has one canonical text, and parsing that gives the same value.
 * @throws TypeError a value that is no JSON: undefined, a number that is not finite, bytes
 */
export function canonicalJson(value: unknown): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      if (!Number.isFinite(value)) throw new TypeError(`${value} is no JSON number`);
      return JSON.stringify(value);
    case 'boolean':
      return value ? 'true' : 'false';
    case 'object':
      if (value === null) return 'null';
      if (Array.isArray(value)) return `[${value.map(canonicalJson).join(',')}]`;
      if (ArrayBuffer.isView(value)) break;
      return canonicalObject(value as Readonly<Record<string, unknown>>);
    default:
  }
  throw new TypeError(`${typeof value === 'object' ? 'Binary data' : typeof value} is no JSON value`);
}

function canonicalObject(object: Readonly<Record<string, unknown>>): string {
  let text = '';
  for (const key of Object.keys(object).sort()) {
    text += `${text === '' ? '{' : ','}${JSON.stringify(key)}:${canonicalJson(object[key])}`;
  }
  return text === '' ? '{}' : `${text}}`;
}
