import pg from 'pg';

/** A connection that ends quietly when its database goes; a statement under way fails then. */
export async function connect(url: string): Promise<pg.Client> {
  const client = new pg.Client(url);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}
