/** Type numbers of Postgres's `pg_type`. */
export const TEXT = 25;
export const JSON_TYPE = 114;

/**
 * A one-dimensional array in Postgres's binary format (`array_recv`). The text format escapes every quote and backslash of
 * JSON on this side and unescapes it on the other, which for events of some kilobytes costs several times the insert itself.
 * @param type number of the element type, one whose own binary format is its text
 */
export function binaryArray(type: number, values: readonly string[]): Buffer {
  const lengths = values.map((value) => Buffer.byteLength(value));
  const buffer = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + 4 + length, 20));
  buffer.writeInt32BE(1, 0); // dimensions
  buffer.writeInt32BE(0, 4); // no NULLs
  buffer.writeInt32BE(type, 8);
  buffer.writeInt32BE(values.length, 12);
  buffer.writeInt32BE(1, 16); // lower bound
  let offset = 20;
  values.forEach((value, i) => {
    offset = buffer.writeInt32BE(lengths[i] ?? 0, offset);
    offset += buffer.write(value, offset);
  });
  return buffer;
}
