import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  checkUrl,
  DestinationNotAllowedError,
  isPublicAddress,
  urlProblem,
} from '../../src/egress/address-policy.ts';

/** What reaches into the machine or the network around it, in every spelling a URL takes. */
const inside = [
  // 127.0.0.1
  'http://127.0.0.1/',
  'http://127.0.0.1./',
  'http://2130706433/',
  'http://0x7f.1/',
  'http://0x7f000001/',
  'http://127.1/',
  'http://127.0.1/',
  'http://0177.0.0.1/',
  'http://017700000001/',
  'http://0x7f.0x0.0x0.0x1/',
  'http://①②⑦.⓪.⓪.①/',
  'http://127。0。0。1/',
  'http://127%2e0%2e0%2e1/',
  'http://127.255.255.254:8080/',
  'http:127.0.0.1/',
  'http:/127.0.0.1/',
  'http:\\\\127.0.0.1\\',
  '  http://127.0.0.1/',
  'ht\ntp://127.0.0.1/',
  // IPv6, and IPv4 inside it
  'http://[::1]/',
  'http://[::]/',
  'http://[0:0:0:0:0:0:0:1]/',
  'http://[::ffff:127.0.0.1]/',
  'http://[::ffff:7f00:1]/',
  'http://[0:0:0:0:0:ffff:7f00:1]/',
  'http://[::7f00:1]/',
  'http://[::127.0.0.1]/',
  'http://[::ffff:0:127.0.0.1]/',
  'http://[64:ff9b::7f00:1]/',
  'http://[64:ff9b::10.0.0.1]/',
  'http://[64:ff9b:1::10.0.0.1]/',
  'http://[2002:7f00:1::]/',
  'http://[2002:a00:1::1]/',
  'http://[2001:0:7f00:1::]/',
  'http://[fe80::1]/',
  'http://[fec0::1]/',
  'http://[fc00::1]/',
  'http://[fd12:3456:789a::1]/',
  'http://[ff02::1]/',
  'http://[100::1]/',
  'http://[2001:db8::1]/',
  'http://[3fff::1]/',
  'http://[5f00::1]/',
  'http://[4000::1]/',
  // Private, link-local, shared, multicast, reserved
  'http://10.0.0.1/',
  'http://172.16.0.1/',
  'http://172.31.255.255/',
  'http://192.168.1.1/',
  'http://169.254.169.254/latest/meta-data/',
  'http://2852039166/',
  'http://0xa9fea9fe/',
  'http://[::ffff:169.254.169.254]/',
  'http://100.64.0.1/',
  'http://100.100.100.200/',
  'http://0.0.0.0/',
  'http://0/',
  'http://0.1.2.3/',
  'http://224.0.0.1/',
  'http://239.255.255.250/',
  'http://240.0.0.1/',
  'http://255.255.255.255/',
  'http://192.0.0.192/',
  'http://192.0.2.1/',
  'http://198.18.0.1/',
  'http://198.51.100.7/',
  'http://203.0.113.7/',
  'http://192.88.99.1/',
  // Names
  'http://localhost/',
  'http://LOCALHOST/',
  'http://localhost./',
  'http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/',
  'http://a.localhost/',
  'http://printer.local/',
  'http://metadata.google.internal/',
  'http://metadata.google.internal./',
  'http://router.home.arpa/',
  'http://nas.lan/',
  'http://localhost.localdomain/',
  'http://redis:6379/',
  'http://postgres/',
];

const otherThanHttp = [
  'ftp://example.com/',
  'file:///etc/passwd',
  'gopher://example.com/',
  'data:text/plain,hi',
  'javascript:alert(1)',
  'ws://example.com/',
  'unix:/var/run/docker.sock',
  'blob:https://example.com/1',
  '//example.com/',
  'example.com',
  'http://',
  'http://[fe80::1%25eth0]/',
  'http://[fe80::1%eth0]/',
  'http://[::1',
  'http://256.256.256.256/',
  'http://1.2.3.4.5/',
  'http://exa mple.com/',
  '',
];

const withCredentials = [
  'http://user:password@example.com/',
  'http://user@example.com/',
  'http://:password@example.com/',
  'https://example.com@127.0.0.1/',
  'http://127.0.0.1:80@example.com/',
];

const outside = [
  'http://example.com/',
  'https://example.com:8443/hooks?x=1#part',
  'https://example.com./',
  'https://münchen.example.com/',
  'http://8.8.8.8/',
  'http://134744072/',
  'http://[2606:4700::1111]/',
  'http://172.32.0.1/',
  'http://100.128.0.1/',
  'https://localhost.example.com/',
  'https://internal.example.com/',
];

describe('checkUrl', () => {
  it.each(inside)('refuses %j and does not say why', (url) => {
    expect(() => checkUrl(url, false)).toThrow(DestinationNotAllowedError);
    expect(() => checkUrl(url, false)).toThrow(/^Destination not allowed$/);
  });

  it.each(otherThanHttp)('refuses %j: not http or https', (url) => {
    for (const allowPrivate of [false, true])
      expect(() => checkUrl(url, allowPrivate)).toThrow('Must be an http or https URL');
  });

  it.each(withCredentials)('refuses %j: credentials', (url) => {
    for (const allowPrivate of [false, true])
      expect(() => checkUrl(url, allowPrivate)).toThrow('Must not contain a user name or password');
  });

  it.each(outside)('lets %j pass', (url) => {
    expect(checkUrl(url, false).href).toBe(new URL(url).href);
    expect(urlProblem(url, false)).toBeNull();
  });

  it.each(inside)('lets %j pass where private networks are allowed', (url) => {
    expect(urlProblem(url, true)).toBeNull();
  });

  it('tells urlProblem what is wrong', () => {
    expect(urlProblem('http://10.0.0.1/', false)).toBe('Destination not allowed');
    expect(urlProblem('ftp://10.0.0.1/', true)).toBe('Must be an http or https URL');
  });
});

describe('isPublicAddress', () => {
  it.each(['fe80::1%eth0', '::1%lo', '1.2.3', '010.0.0.1', '', 'example.com', '::ffff:8.8.8.8', '8.8.8.8 '])(
    'is not fooled by %j',
    (address) => expect(isPublicAddress(address)).toBe(false),
  );

  it('takes nothing for public that carries any IPv4 address inside an IPv6 one', () => {
    fc.assert(
      fc.property(fc.ipV4(), (v4) => {
        const [a = 0, b = 0, c = 0, d = 0] = v4.split('.').map(Number);
        const hex = `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
        const forms = [`::ffff:${hex}`, `::${hex}`, `::ffff:0:${hex}`, `64:ff9b::${hex}`, `2002:${hex}::`];
        for (const form of forms) expect(isPublicAddress(form)).toBe(false);
      }),
    );
  });

  it('takes no IPv6 address outside 2000::/3 for public', () => {
    fc.assert(
      fc.property(fc.ipV6(), (v6) => {
        if (!isPublicAddress(v6)) return;
        expect(new URL(`http://[${v6}]`).hostname).toMatch(/^\[[23][0-9a-f]{3}:/);
      }),
    );
  });
});
