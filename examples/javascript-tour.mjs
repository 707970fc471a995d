#!/usr/bin/env node
// The tour of the API below /rdb/v1 with the client for JavaScript, as its makers publish it: an instance, its
// certificate, a user, a database, a privilege, a setting, who may connect, and its end.
//
//   npm install @scaleway/sdk-rdb@1.3.0 @scaleway/sdk-client@1.3.3
//   SCW_API_URL=http://127.0.0.1:8080 SCW_ACCESS_KEY=… SCW_SECRET_KEY=… node examples/javascript-tour.mjs
//
// `berth key create` makes a pair of keys and says which project they belong to: SCW_DEFAULT_PROJECT_ID.
import { Errors, createClient } from '@scaleway/sdk-client'
import { Rdbv1 } from '@scaleway/sdk-rdb'

const env = process.env
const password = env.TOUR_PASSWORD ?? 'S3cret!pw'
const client = createClient({
  accessKey: env.SCW_ACCESS_KEY,
  secretKey: env.SCW_SECRET_KEY,
  apiURL: env.SCW_API_URL,
  defaultProjectId: env.SCW_DEFAULT_PROJECT_ID,
  defaultRegion: env.SCW_DEFAULT_REGION ?? 'fr-par',
})
const api = new Rdbv1.API(client)

const engine = (await api.listDatabaseEngines().all()).find(one => one.name === 'PostgreSQL')
const version = engine.versions.find(one => !one.disabled && !one.beta)
console.log(`${version.name}, ${version.availableSettings.length} settings`)

const made = await api.createInstance({
  name: `tour-${process.pid}`,
  engine: version.name,
  userName: 'boss',
  password,
  nodeType: 'db-dev-s',
  isHaCluster: false,
  disableBackup: true,
  volumeSize: 0,
  backupSameRegion: false,
  tags: ['tour'],
})
const instanceId = made.id
console.log(instanceId, made.status)
const instance = await api.waitForInstance({ instanceId })
const [where] = instance.endpoints
console.log(instance.status, 'at', where.ip ?? where.hostname, where.port)

const pem = await (await api.getInstanceCertificate({ instanceId })).text()
console.log(pem.split('\n')[0])

await api.createUser({ instanceId, name: 'reader', password, isAdmin: false })
await api.createDatabase({ instanceId, name: 'shop' })
await api.setPrivilege({ instanceId, databaseName: 'shop', userName: 'reader', permission: 'readonly' })
for (const privilege of await api.listPrivileges({ instanceId, databaseName: 'shop' }).all()) {
  console.log(privilege.userName, 'has', privilege.permission)
}

await api.addInstanceSettings({ instanceId, settings: [{ name: 'work_mem', value: '8' }] })
console.log((await api.waitForInstance({ instanceId })).settings)

await api.setInstanceACLRules({ instanceId, rules: [{ ip: '127.0.0.0/8', description: 'this machine' }] })
await api.waitForInstance({ instanceId })
console.log((await api.listInstanceACLRules({ instanceId }).all()).map(rule => rule.ip))

try {
  await api.createSnapshot({ instanceId })
} catch (error) {
  if (!(error instanceof Errors.PreconditionFailedError)) throw error
  console.log(error.helpMessage)
}

console.log((await api.deleteInstance({ instanceId })).status)
try {
  await api.waitForInstance({ instanceId })
} catch (error) {
  if (!(error instanceof Errors.ResourceNotFoundError)) throw error
  console.log(error.message)
}
