import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { connect as connectTo, Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { networkInterfaces } from 'node:os';
import { describe, expect, onTestFinished, test } from 'vitest';
import type { buildConnector } from 'undici';
import { DestinationNotAllowedError, isPublicAddress, urlProblem } from '../../src/egress/address-policy.ts';
import { createEgressClient } from '../../src/egress/egress-client.ts';
import type { GuardOptions } from '../../src/egress/guarded-connector.ts';
import { normalAddress } from '../../src/egress/own-addresses.ts';

/** Addresses that would be public. Nothing leaves the machine: names and connections are made up here. */
const PUBLIC = '93.184.216.34';
const OTHER = '93.184.216.35';

function guarded(options: {
  /** What names mean, one list a look-up. */
  readonly answers?: readonly (readonly string[])[];
  /** Where a connection really leads; default: nowhere. */
  readonly connected?: (address: string) => Socket;
  readonly ownAddresses?: GuardOptions['ownAddresses'];
}) {
  const { answers = [], connected, ownAddresses } = options;
  const rest = [...answers];
  const dialled: string[] = [];
  const client = createEgressClient({
    allowPrivateNetworks: false,
    ...(ownAddresses && { ownAddresses }),
    resolve: () => Promise.resolve([...(rest.shift() ?? [])]),
    connect: (target: buildConnector.Options, callback: buildConnector.Callback) => {
      dialled.push(`${target.hostname}:${target.port || target.protocol}`);
      if (connected === undefined) callback(new Error('nobody there'), null);
      else callback(null, connected(target.hostname));
    },
  });
  onTestFinished(() => client.close());
  const post = (url: string) =>
    client.send({ url, method: 'POST', headers: {}, body: '{}', timeoutMs: 5_000, maxResponseBytes: 100 });
  return { client, post, dialled };
}

/** A local server that passes for a public one. */
async function publicServer(listener: RequestListener) {
  const asked: string[] = [];
  const server = createServer((req, res) => {
    asked.push(`${req.method} ${req.headers.host} ${req.url}`);
    listener(req, res);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const connected = (address: string): Socket => {
    const socket = connectTo(port, '127.0.0.1');
    return Object.defineProperty(socket, 'remoteAddress', { value: address });
  };
  return { asked, connected };
}

describe('addresses that look public and are not', () => {
  test.each([
    ["Azure's host, on every virtual machine", '168.63.129.16'],
    ['ISATAP around loopback', '2a00:1450:4001::5efe:7f00:1'],
    ['ISATAP around a private network', '2a00:1450:4001::200:5efe:a00:1'],
    ["AWS's metadata in IPv6", 'fd00:ec2::254'],
    ["GCP's metadata in IPv6", 'fd20:ce::254'],
    ["Oracle's metadata", '192.0.0.192'],
    ["Alibaba's metadata", '100.100.100.200'],
    ['a name server of Azure and OpenStack', '169.254.169.253'],
    ['NAT64 of a local prefix', '64:ff9b:1::a9fe:a9fe'],
    ['Teredo', '2001:0:a9fe:a9fe::1'],
    ['ORCHID', '2001:20::1'],
    ['segment routing', '5f00::1'],
    ['discard-only', '100::1'],
    ['site-local', 'fec0::1'],
  ])('%s: %s', (_, address) => {
    expect(isPublicAddress(address)).toBe(false);
    const host = address.includes(':') ? `[${address}]` : address;
    expect(urlProblem(`http://${host}/`, false)).toBe('Destination not allowed');
  });

  test('are kept apart from those that are', () => {
    for (const address of [
      '168.63.129.15',
      '168.63.129.17',
      '2a00:1450:4001::5eff:7f00:1',
      '2606:4700::1111',
      PUBLIC,
    ])
      expect([address, isPublicAddress(address)]).toEqual([address, true]);
  });
});

describe('the machine itself', () => {
  test('is not reached by the public address that it has, literally or by name', async () => {
    const ownAddresses = () => new Set([PUBLIC, '2606:2800:220:1::1'].map(normalAddress));
    for (const url of [
      `http://${PUBLIC}:5432/`,
      'http://[2606:2800:220:1:0:0:0:1]:2113/',
      'http://example.com/',
    ]) {
      const { client, post, dialled } = guarded({ ownAddresses, answers: [[OTHER, PUBLIC], [PUBLIC]] });
      await expect(post(url)).rejects.toThrow(DestinationNotAllowedError);
      await expect(client.fetch(url)).rejects.toThrow(DestinationNotAllowedError);
      expect(dialled).toEqual([]);
    }
    const { post, dialled } = guarded({ ownAddresses, answers: [[OTHER]] });
    await expect(post('http://example.com/')).rejects.toThrow(/^The request failed$/);
    expect(dialled).toEqual([`${OTHER}:http:`]);
  });

  test('is known by every address of its interfaces, unless a test says otherwise', async () => {
    const own = Object.values(networkInterfaces()).flatMap((list = []) => list.map(({ address }) => address));
    expect(own.length).toBeGreaterThan(0);
    for (const address of own) {
      const { post, dialled } = guarded({ answers: [[address]] });
      await expect(post('http://example.com/')).rejects.toThrow(DestinationNotAllowedError);
      expect(dialled).toEqual([]);
    }
  });
});

describe('a name that means something else a moment later', () => {
  test('is connected to by the address that was checked, look-up and connection being one', async () => {
    const { asked, connected } = await publicServer((_req, res) => res.end());
    const { post, dialled } = guarded({ answers: [[PUBLIC], ['127.0.0.1']], connected });
    expect((await post('http://rebind.example/')).status).toBe(200);
    expect(dialled).toEqual([`${PUBLIC}:http:`]);
    await expect(post('http://rebind.example/')).rejects.toThrow(DestinationNotAllowedError);
    expect(asked).toEqual(['POST rebind.example /']);
  });

  test('is found out on the way: the address was public, the connection leads inside', async () => {
    for (const peer of ['127.0.0.1', '::ffff:127.0.0.1', '10.0.0.1', '::1', 'fe80::1%eth0']) {
      const socket = Object.defineProperty(new Socket(), 'remoteAddress', { value: peer });
      const { client, dialled } = guarded({ answers: [[PUBLIC]], connected: () => socket });
      await expect(client.fetch('http://rebind.example/')).rejects.toThrow(DestinationNotAllowedError);
      expect([dialled.length, socket.destroyed, socket.bytesWritten]).toEqual([1, true, 0]);
    }
  });
});

describe('a redirect', () => {
  const inside = [
    'http://127.0.0.1/',
    'http://2130706433/',
    'http://[::1]/',
    'http://[::ffff:7f00:1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://169.254.169.254/latest/meta-data/',
    'http://168.63.129.16/',
    '//127.0.0.1:6379/',
    '//localhost/',
    'https://127.0.0.1/',
  ];
  test.each(inside)('of fetch to %s leads nowhere', async (location) => {
    const { asked, connected } = await publicServer((_req, res) => res.writeHead(302, { location }).end());
    const { client, dialled } = guarded({ answers: [[PUBLIC], ['127.0.0.1']], connected });
    await expect(client.fetch('http://example.com/')).rejects.toThrow(DestinationNotAllowedError);
    expect(asked).toEqual(['GET example.com /']);
    expect(dialled).toEqual([`${PUBLIC}:http:`]);
  });

  test.each([
    'http://user:password@example.com/',
    'file:///etc/passwd',
    'ftp://127.0.0.1/',
    'data:text/plain,inside',
    'javascript:1',
    'gopher://127.0.0.1:6379/',
  ])('of fetch to %s is none', async (location) => {
    const { asked, connected } = await publicServer((_req, res) => res.writeHead(302, { location }).end());
    const { client } = guarded({ answers: [[PUBLIC]], connected });
    await expect(client.fetch('http://example.com/')).rejects.toThrow('fetch failed');
    expect(asked).toHaveLength(1);
  });

  test('in a circle comes to an end', async () => {
    const { asked, connected } = await publicServer((_req, res) =>
      res.writeHead(302, { location: '/' }).end(),
    );
    const { client } = guarded({ answers: Array.from({ length: 50 }, () => [PUBLIC]), connected });
    await expect(client.fetch('http://example.com/')).rejects.toThrow('fetch failed');
    expect(asked.length).toBeLessThan(25);
  });

  test('to another site takes no credentials along', async () => {
    const seen: (string | undefined)[] = [];
    const { connected } = await publicServer((req, res) => {
      seen.push(req.headers.authorization);
      if (seen.length === 1) res.writeHead(302, { location: 'http://other.example/' });
      res.end();
    });
    const { client } = guarded({ answers: [[PUBLIC], [OTHER]], connected });
    await client.fetch('http://example.com/', { headers: { authorization: 'Bearer secret' } });
    expect(seen).toEqual(['Bearer secret', undefined]);
  });

  test.each([301, 302, 303, 307, 308])('of a webhook, %i, is an answer like another', async (status) => {
    const { asked, connected } = await publicServer((_req, res) =>
      res.writeHead(status, { location: 'http://169.254.169.254/' }).end(),
    );
    const { post, dialled } = guarded({ answers: [[PUBLIC]], connected });
    expect((await post('http://example.com/')).status).toBe(status);
    expect([asked.length, dialled.length]).toEqual([1, 1]);
  });
});

describe('what stands in a URL beside the host', () => {
  test('a port goes where the host goes, and nowhere else', async () => {
    const { post, dialled } = guarded({ answers: [[PUBLIC], ['127.0.0.1']] });
    await expect(post('http://example.com:8443/')).rejects.toThrow();
    await expect(post('http://example.com:6379/')).rejects.toThrow(DestinationNotAllowedError);
    expect(dialled).toEqual([`${PUBLIC}:8443`]);
  });

  test.each([
    'http://127.0.0.1#@example.com/',
    'http://example.com#@127.0.0.1/',
    'http://127.0.0.1\\@example.com/',
    'http://example.com%00.127.0.0.1/',
  ])('what looks like two hosts is taken for one, the same at every step: %s', async (url) => {
    const { post, dialled } = guarded({ answers: [[PUBLIC]] });
    await expect(post(url)).rejects.toThrow();
    for (const address of dialled) expect(address).toBe(`${PUBLIC}:http:`);
    if (dialled.length === 0) expect(urlProblem(url, false)).not.toBeNull();
  });

  test('line breaks add no header', async () => {
    let lines: string[] = [];
    const { asked, connected } = await publicServer((req, res) => {
      lines = req.rawHeaders;
      res.end();
    });
    const { post } = guarded({ answers: [[PUBLIC]], connected });
    const url = 'http://example.com/a\r\nX-Injected: 1\r\n\r\nGET /b?x=%0d%0aX-Injected:%201';
    expect((await post(url)).status).toBe(200);
    // One request came, and all of it in its path.
    expect(asked).toEqual(['POST example.com /aX-Injected:%201GET%20/b?x=%0d%0aX-Injected:%201']);
    expect(lines).toContain('example.com');
    expect(lines.join('\n')).not.toMatch(/x-injected/i);
  });
});
