import { createServer } from 'node:http';
import type { RequestListener } from 'node:http';
import { connect as connectTo, Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import type { buildConnector } from 'undici';
import { describe, expect, it, onTestFinished } from 'vitest';
import { createEgressClient, RequestFailedError } from '../../src/egress/egress-client.ts';
import { DestinationNotAllowedError } from '../../src/egress/address-policy.ts';

/** Addresses that would be public; nothing is ever sent to them. */
const PUBLIC = '93.184.216.34';
const PUBLIC_V6 = '2606:2800:220:1::1';

type Connected = (address: string) => Socket | Error;

/** A guarded client whose names resolve to `answers`, one list a look-up, and whose connections are all made up. */
function guarded(answers: readonly (readonly string[])[] = [], connected: Connected = refused) {
  const resolved: string[] = [];
  const dialled: { address: string; servername: string | undefined }[] = [];
  const rest = [...answers];
  const client = createEgressClient({
    allowPrivateNetworks: false,
    resolve: (name) => {
      resolved.push(name);
      return Promise.resolve([...(rest.shift() ?? [])]);
    },
    connect: (target: buildConnector.Options, callback: buildConnector.Callback) => {
      dialled.push({ address: target.hostname, servername: target.servername });
      const result = connected(target.hostname);
      if (result instanceof Error) callback(result, null);
      else callback(null, result);
    },
  });
  onTestFinished(() => client.close());
  const post = (url: string) =>
    client.send({ url, method: 'POST', headers: {}, body: '{}', timeoutMs: 5_000, maxResponseBytes: 100 });
  return { client, post, resolved, dialled };
}

const refused: Connected = (address) =>
  Object.assign(new Error(`connect ECONNREFUSED ${address}:80`), {
    code: 'ECONNREFUSED',
    syscall: 'connect',
  });

/** A socket that says it is connected to `remoteAddress`. */
function socketTo(remoteAddress: string | undefined, socket = new Socket()): Socket {
  Object.defineProperty(socket, 'remoteAddress', { value: remoteAddress });
  return socket;
}

async function localServer(listener: RequestListener): Promise<number> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

describe('the guard', () => {
  it.each([
    'http://127.0.0.1/',
    'http://2130706433/',
    'http://[::ffff:7f00:1]/',
    'http://[64:ff9b::7f00:1]/',
    'http://localhost/',
    'http://user@example.com/',
    'ftp://example.com/',
  ])('neither resolves nor connects for %s', async (url) => {
    const { client, post, resolved, dialled } = guarded();
    await expect(post(url)).rejects.toThrow(DestinationNotAllowedError);
    await expect(client.fetch(url)).rejects.toThrow(DestinationNotAllowedError);
    expect({ resolved, dialled }).toEqual({ resolved: [], dialled: [] });
  });

  it.each([
    ['loopback', ['127.0.0.1']],
    ['metadata', ['169.254.169.254']],
    ['CGNAT', ['100.64.0.1']],
    ['unspecified', ['0.0.0.0']],
    ['multicast', ['224.0.0.1']],
    ['link-local with a zone', ['fe80::1%eth0']],
    ['IPv4-mapped', ['::ffff:10.0.0.1']],
    ['NAT64', ['64:ff9b::a00:1']],
    ['a private one among public ones', [PUBLIC, '10.0.0.1', PUBLIC_V6]],
    ['a private one behind many public ones', [...Array.from({ length: 20 }, () => PUBLIC), '10.0.0.1']],
    ['no address at all', []],
    ['something that is no address', ['localhost']],
  ])('connects nowhere when a name has %s', async (_, addresses) => {
    const { client, post, dialled } = guarded([addresses, addresses]);
    await expect(post('http://example.com/')).rejects.toThrow(/^Destination not allowed$/);
    await expect(client.fetch('http://example.com/')).rejects.toThrow(/^Destination not allowed$/);
    expect(dialled).toEqual([]);
  });

  it('connects to the address it has checked, never to the name', async () => {
    const { post, resolved, dialled } = guarded([[PUBLIC]]);
    await expect(post('https://example.com/')).rejects.toThrow();
    expect(resolved).toEqual(['example.com']);
    expect(dialled).toEqual([{ address: PUBLIC, servername: 'example.com' }]);
  });

  it('asks and checks again at each attempt: a name that turns private is found out', async () => {
    const { post, resolved, dialled } = guarded([[PUBLIC], ['10.0.0.1'], [PUBLIC]]);
    await expect(post('http://example.com/')).rejects.toThrow(/^connect ECONNREFUSED$/);
    await expect(post('http://example.com/')).rejects.toThrow(/^Destination not allowed$/);
    await expect(post('http://example.com/')).rejects.toThrow(/^connect ECONNREFUSED$/);
    expect(resolved).toHaveLength(3);
    expect(dialled.map(({ address }) => address)).toEqual([PUBLIC, PUBLIC]);
  });

  it.each(['127.0.0.1', '::ffff:10.0.0.1', '::1', undefined])(
    'sends nothing when the peer turns out to be %s',
    async (peer) => {
      const socket = socketTo(peer);
      const { post } = guarded([[PUBLIC]], () => socket);
      await expect(post('http://example.com/')).rejects.toThrow(/^Destination not allowed$/);
      expect(socket.destroyed).toBe(true);
      expect(socket.bytesWritten).toBe(0);
    },
  );

  it('tries the addresses of a name in turn, but not for ever', async () => {
    const many = Array.from({ length: 50 }, (_, n) => `93.184.216.${n + 1}`);
    const { post, dialled } = guarded([many]);
    await expect(post('http://example.com/')).rejects.toThrow(RequestFailedError);
    expect(dialled.map(({ address }) => address)).toEqual(many.slice(0, 4));
  });

  it('tells of a failure without the address', async () => {
    const { post } = guarded([[PUBLIC]]);
    const error = await post('http://example.com/').catch((thrown: unknown) => thrown as Error);
    expect(error).toBeInstanceOf(RequestFailedError);
    expect((error as Error).message).toBe('connect ECONNREFUSED');
  });

  it('tells of a name without an address in the words of the system', async () => {
    const failing = createEgressClient({
      allowPrivateNetworks: false,
      resolve: () => {
        const error = new Error('queryA ENOTFOUND nowhere.example.com');
        return Promise.reject(Object.assign(error, { code: 'ENOTFOUND', syscall: 'queryA' }));
      },
    });
    const sent = failing.send({
      url: 'http://nowhere.example.com/',
      method: 'POST',
      headers: {},
      timeoutMs: 5_000,
      maxResponseBytes: 1,
    });
    await expect(sent).rejects.toThrow(/^getaddrinfo ENOTFOUND$/);
  });

  it.each(['never answers', 'never connects'])('keeps its deadline when the other side %s', async (which) => {
    const client = createEgressClient({
      allowPrivateNetworks: false,
      resolve: () => (which === 'never answers' ? new Promise(() => undefined) : Promise.resolve([PUBLIC])),
      connect: () => undefined,
    });
    const sent = client.send({
      url: 'http://example.com/',
      method: 'POST',
      headers: {},
      timeoutMs: 50,
      maxResponseBytes: 1,
    });
    await expect(sent).rejects.toThrow(/^Timed out after 50 ms$/);
  });

  it('guards the destinations of redirects that fetch follows', async () => {
    const asked: (string | undefined)[] = [];
    const port = await localServer((req, res) => {
      asked.push(req.headers.host);
      res.writeHead(302, { location: 'http://169.254.169.254/latest/meta-data/' }).end();
    });
    // A local server that passes for a public one.
    const { client, dialled } = guarded([[PUBLIC]], () => socketTo(PUBLIC, connectTo(port, '127.0.0.1')));
    await expect(client.fetch('http://example.com/')).rejects.toThrow(DestinationNotAllowedError);
    expect(asked).toEqual(['example.com']);
    expect(dialled.map(({ address }) => address)).toEqual([PUBLIC]);
  });

  it('lets no dispatcher of the caller take its place', async () => {
    const { client, dialled } = guarded([['10.0.0.1']]);
    const dispatcher = { dispatch: () => expect.fail('the guard was passed over') };
    const init = { dispatcher } as unknown as NonNullable<Parameters<typeof client.fetch>[1]>;
    await expect(client.fetch('http://example.com/', init)).rejects.toThrow(DestinationNotAllowedError);
    expect(dialled).toEqual([]);
  });
});
