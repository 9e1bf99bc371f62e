// Mints tokens with `jose`; the same as ../python/mint.py, and with a key `{"pem": "rsa"}` such as take
// the public key of that name for a secret, which PyJWT refuses.
import { SignJWT, UnsecuredJWT, exportJWK, exportSPKI, generateKeyPair, importJWK } from "jose";

const algorithms = { rsa: "RS256", p256: "ES256", p384: "ES384", ed: "EdDSA" };
const keys = {};
for (const [name, algorithm] of Object.entries(algorithms)) {
  keys[name] = await generateKeyPair(algorithm, { extractable: true });
}

async function mint({ alg, key, claims, headers }) {
  if (alg === "none") return new UnsecuredJWT(claims).encode();
  if (key.pem) key = { secret: await exportSPKI(keys[key.pem].publicKey) };
  const named = typeof key === "string";
  const secret = named ? await signer(keys[key].privateKey, alg) : new TextEncoder().encode(key.secret);
  const header = { alg, ...(headers ?? (named ? { kid: key } : {})) };
  return new SignJWT(claims).setProtectedHeader(header).sign(secret);
}

/** A key of WebCrypto is for one algorithm; the JWK of it is for any of its kind. */
async function signer(key, alg) {
  return importJWK(await exportJWK(key), alg);
}

const said = { passed: ["minted"], tokens: [], pem: {}, jwks: { keys: [] } };
for (const wanted of JSON.parse(process.argv[2])) said.tokens.push(await mint(wanted));
for (const [name, { publicKey }] of Object.entries(keys)) {
  said.pem[name] = await exportSPKI(publicKey);
  said.jwks.keys.push({ ...(await exportJWK(publicKey)), kid: name });
}
console.log(JSON.stringify(said));
