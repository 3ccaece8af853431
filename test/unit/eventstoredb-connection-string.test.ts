import { PassThrough } from 'node:stream';
import { pino } from 'pino';
import { describe, expect, it, vi } from 'vitest';
import { StartupError } from '../../src/errors.ts';
import { createClient } from '../../src/infrastructure/eventstoredb/client.ts';
import { toConnectionString } from '../../src/infrastructure/eventstoredb/connection-string.ts';
import { silentLogger } from '../support/database.ts';

const convert = (url: string): string => toConnectionString(url, silentLogger);

describe('toConnectionString', () => {
  it.each([
    ['esdb://db:2113', 'esdb://db:2113?connectionName=asyncly'],
    ['kurrentdb://db:2113/?tls=false', 'esdb://db:2113?tls=false&connectionName=asyncly'],
    ['kurrentdb+discover://cluster.example', 'esdb+discover://cluster.example?connectionName=asyncly'],
    [
      'esdb+discover://c:2113?tlsCAFile=./ca.pem',
      'esdb+discover://c:2113?tlsCAFile=./ca.pem&connectionName=asyncly',
    ],
    ['esdb://a:1,b:2,c:3?connectionName=mine', 'esdb://a:1,b:2,c:3?connectionName=mine'],
    ['esdb://admin:change%20it@db', 'esdb://admin:change%20it@db?connectionName=asyncly'],
    ['esdb://admin:a:b@c@db', 'esdb://admin:a%3Ab%40c@db?connectionName=asyncly'],
    ['esdb://admin:50%@db', 'esdb://admin:50%25@db?connectionName=asyncly'],
  ])('makes of %s what the client takes', (url, expected) => {
    expect(convert(url)).toBe(expected);
    expect(() => createClient(url.replace(/tlsCAFile=[^&]*/, 'tls=false'), silentLogger)).not.toThrow();
  });

  it.each([
    'http://admin:hunter2@db',
    'esdb:admin:hunter2@db',
    'esdb://hunter2@db',
    'esdb://:hunter2@db',
    'esdb://u:hunter2@',
  ])('refuses %s without quoting it', (url) => {
    const attempt = (): unknown => createClient(url, silentLogger);
    expect(attempt).toThrow(StartupError);
    try {
      attempt();
    } catch (error) {
      expect(JSON.stringify(error) + String(error) + String((error as Error).cause)).not.toContain('hunter2');
    }
  });

  it('leaves out options that would make the client print the whole string, and says which', () => {
    const printed = vi.spyOn(console, 'warn').mockImplementation(() => undefined);
    const lines = new PassThrough();
    const logger = pino({ level: 'warn' }, lines);
    const url =
      'esdb://admin:hunter2@db:2113?tlsVerifyCert=false&nodePreference=follower&unheardOf=1&throw-on-append-failure=false&tls=false';
    createClient(url, logger);
    expect(toConnectionString(url, logger)).toBe(
      'esdb://admin:hunter2@db:2113?tls=false&connectionName=asyncly',
    );
    const said = String(lines.read());
    for (const option of ['tlsVerifyCert', 'nodePreference', 'unheardOf', 'throw-on-append-failure']) {
      expect(said).toContain(option);
    }
    expect(said).not.toContain('hunter2');
    expect(printed).not.toHaveBeenCalled();
    printed.mockRestore();
  });
});
