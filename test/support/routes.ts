import express from 'express';
import { vi } from 'vitest';

/** What Express keeps of a router, as far as is needed to list its routes. */
interface RouterInternals {
  readonly stack: readonly {
    readonly route?: { readonly path: string; readonly methods: Readonly<Record<string, boolean>> };
  }[];
}

interface Mount {
  readonly parent: unknown;
  readonly path: string;
}

const isRouter = (handler: unknown): handler is RouterInternals =>
  typeof handler === 'function' && 'stack' in handler && Array.isArray(handler.stack);

/**
 * Watches how routers are put together from now on: Express itself forgets where one was mounted.
 * @returns lists the routes of everything mounted since, as `GET /api/jobs/:id`, and ends the watch
 */
export function watchRoutes(): () => string[] {
  const use = vi.spyOn((express.Router as unknown as { prototype: { use: () => unknown } }).prototype, 'use');
  return () => {
    const mounts = new Map<unknown, Mount>();
    const routers = new Set<RouterInternals>();
    use.mock.calls.forEach((args: unknown[], index) => {
      const parent: unknown = use.mock.contexts[index];
      const path = typeof args[0] === 'string' ? args[0] : '/';
      for (const handler of [parent, ...args.flat(3)]) {
        if (!isRouter(handler)) continue;
        routers.add(handler);
        if (handler !== parent) mounts.set(handler, { parent, path });
      }
    });
    use.mockRestore();
    const prefixOf = (router: unknown): string => {
      const mount = mounts.get(router);
      return mount === undefined ? '' : `${prefixOf(mount.parent)}/${mount.path}`;
    };
    return [...routers].flatMap((router) =>
      router.stack.flatMap(({ route }) => {
        if (route === undefined) return [];
        const path = `${prefixOf(router)}/${route.path}`.replace(/\/+/g, '/').replace(/(?<=.)\/$/, '');
        return Object.keys(route.methods).map((method) => `${method.toUpperCase()} ${path}`);
      }),
    );
  };
}
