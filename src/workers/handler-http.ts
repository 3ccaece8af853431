import type { EgressClient } from '../egress/egress-client.ts';
import type { HandlerHttp } from './handler.ts';

/** One client of each kind in a thread, made on first use: most handlers never send a request. */
const clients = new Map<boolean, Promise<EgressClient>>();

function clientFor(allowPrivateNetworks: boolean): Promise<EgressClient> {
  const known = clients.get(allowPrivateNetworks);
  if (known !== undefined) return known;
  const client = import('../egress/egress-client.ts').then(({ createEgressClient }) =>
    createEgressClient({ allowPrivateNetworks }),
  );
  clients.set(allowPrivateNetworks, client);
  return client;
}

/** @param signal of the attempt: aborts its requests, besides any signal they have themselves */
export function createHandlerHttp(allowPrivateNetworks: boolean, signal: AbortSignal): HandlerHttp {
  return {
    async fetch(url, init = {}) {
      const client = await clientFor(allowPrivateNetworks);
      const own = init.signal ?? null;
      return client.fetch(url, { ...init, signal: own === null ? signal : AbortSignal.any([signal, own]) });
    },
  };
}
