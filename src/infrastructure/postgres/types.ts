import pg from 'pg';

const INT8 = 20;
const INT8_ARRAY = 1016;

type Parser = (text: string) => unknown;
/** The driver's declarations know only some of the type numbers its table has. */
const driverParser = pg.types.getTypeParser as unknown as (oid: number, format?: 'text' | 'binary') => Parser;

const parseInt8Array = driverParser(INT8_ARRAY);

/**
 * Parsers of one connection: `int8` as `bigint`, everything else as the driver does it. Given to each client, because
 * the driver's own table is shared by every user of it in the process, the queue included.
 */
export const typeParsers: pg.CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary'): Parser => {
    if (format !== 'binary' && oid === INT8) return BigInt;
    if (format !== 'binary' && oid === INT8_ARRAY) return (text) => widen(parseInt8Array(text));
    return driverParser(oid, format);
  }) as typeof pg.types.getTypeParser,
};

function widen(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(widen);
  return value === null ? null : BigInt(value as string);
}
