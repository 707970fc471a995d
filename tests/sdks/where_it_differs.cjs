// The JavaScript client, unmodified, against a running Berth, for what it does in its own way: it asks for the certificate
// as a file, takes a class of error from its body, asks for all pages at once, and takes an answer for JSON only if the
// content type says exactly so. `tests/it/rdb.rs` runs it, with what it needs in the environment.
'use strict'

const assert = require('node:assert/strict')
const { createRequire } = require('node:module')

const fromHere = createRequire(`${process.env.BERTH_SDKS}/js/`)
const { Rdbv1 } = fromHere('@scaleway/sdk-rdb')
const { createClient, createAdvancedClient, withProfile, withDefaultPageSize, Errors } =
  fromHere('@scaleway/sdk-client')

const NOBODY = '018f0000-0000-4000-8000-000000000000'
const profile = {
  accessKey: process.env.BERTH_ACCESS_KEY,
  secretKey: process.env.BERTH_SECRET_KEY,
  apiURL: process.env.BERTH_URL,
  defaultRegion: 'fr-par',
  defaultProjectId: process.env.BERTH_PROJECT,
  defaultOrganizationId: process.env.BERTH_ORGANIZATION,
}
const api = new Rdbv1.API(createClient(profile))

async function refused(kind, call) {
  try {
    await call()
  } catch (error) {
    assert.equal(error.constructor.name, kind.name, `${error}: ${JSON.stringify(error.body)}`)
    return error
  }
  throw new Error(`not refused: ${kind.name}`)
}

const wanted = {
  engine: undefined,
  userName: 'boss',
  password: 'S3cret!pw',
  nodeType: 'db-dev-s',
  isHaCluster: false,
  disableBackup: true,
  volumeSize: 0,
  backupSameRegion: false,
}

async function catalogue() {
  const engines = await api.listDatabaseEngines().all()
  const version = engines.find(one => one.name === 'PostgreSQL').versions.find(one => !one.disabled && !one.beta)
  assert.equal(version.availableSettings[0].propertyType, version.availableSettings[0].propertyType.toUpperCase())
  wanted.engine = version.name
  const all = await api.listNodeTypes({ includeDisabledTypes: true }).all()
  const paging = new Rdbv1.API(createAdvancedClient(withProfile(profile), withDefaultPageSize(3)))
  const paged = await paging.listNodeTypes({ includeDisabledTypes: true }).all()
  assert.deepEqual(paged.map(one => one.name), all.map(one => one.name))
  const walked = []
  for await (const page of paging.listNodeTypes({ includeDisabledTypes: true })) walked.push(...page.map(one => one.name))
  assert.deepEqual(walked, all.map(one => one.name))
}

async function pages(count) {
  const made = []
  for (let number = 0; number < count; number += 1) {
    made.push(await api.createInstance({ ...wanted, name: `page-${number}`, tags: ['paged'] }))
  }
  const found = await api.listInstances({ pageSize: 1, tags: ['paged'], orderBy: 'created_at_desc' }).all()
  assert.deepEqual(found.map(one => one.id), made.map(one => one.id).reverse())
  const paged = await api.listInstances({ page: 9, tags: ['paged'] })
  assert.deepEqual([paged.instances, paged.totalCount], [[], count])
  return made
}

async function main() {
  await catalogue()
  const [first, second] = await pages(2)
  const instanceId = first.id
  assert.ok(first.createdAt instanceof Date)
  const state = await refused(Errors.TransientStateError, () => api.restartInstance({ instanceId }))
  assert.ok(['provisioning', 'initializing'].includes(state.currentState), state.currentState)
  const shown = await api.waitForInstance({ instanceId })
  assert.equal(shown.status, 'ready')
  assert.deepEqual(shown.endpoints[0].loadBalancer, {})

  const file = await api.getInstanceCertificate({ instanceId })
  assert.equal(file.type, 'application/x-pem-file')
  assert.match(await file.text(), /^-----BEGIN CERTIFICATE-----/)

  const invalid = await refused(Errors.InvalidArgumentsError, () =>
    api.createUser({ instanceId, name: '9lives', password: 'weak', isAdmin: false }),
  )
  assert.deepEqual(invalid.details.map(one => one.argumentName), ['name', 'password'])
  assert.equal(invalid.status, 400)
  await api.createUser({ instanceId, name: 'bob', password: 'S3cret!pw', isAdmin: false })
  const exists = await refused(Errors.AlreadyExistsError, () =>
    api.createUser({ instanceId, name: 'bob', password: 'S3cret!pw', isAdmin: false }),
  )
  assert.deepEqual([exists.resource, exists.resourceId], ['user', 'bob'])
  const users = await api.listUsers({ instanceId, orderBy: 'is_admin_desc', pageSize: 1 }).all()
  assert.deepEqual(users.map(one => one.name), ['boss', 'bob'])
  // Nothing is answered, and that is right.
  assert.equal(await api.deleteUser({ instanceId, name: 'bob' }), undefined)
  const missing = await refused(Errors.ResourceNotFoundError, () => api.deleteUser({ instanceId, name: 'bob' }))
  assert.deepEqual([missing.resource, missing.resourceId], ['user', 'bob'])

  const metrics = await refused(Errors.PreconditionFailedError, () =>
    api.getInstanceMetrics({ instanceId, startDate: new Date(), endDate: new Date(), metricName: 'cpu' }),
  )
  assert.match(metrics.helpMessage, /metrics/)
  await refused(Errors.ResourceNotFoundError, () => api.getInstance({ instanceId: NOBODY }))
  await refused(Errors.OutOfStockError, () => api.createInstance({ ...wanted, nodeType: 'db-gp-m' }))
  await refused(Errors.PermissionsDeniedError, () => api.createInstance({ ...wanted, projectId: NOBODY }))
  const quotas = await refused(Errors.QuotasExceededError, () => api.createInstance({ ...wanted, name: 'third' }))
  assert.deepEqual(quotas.list.map(one => [one.resource, one.quota, one.current])[0], ['instances', 2, 2])
  const stranger = new Rdbv1.API(createClient({ ...profile, secretKey: NOBODY }))
  const denied = await refused(Errors.DeniedAuthenticationError, () => stranger.listInstances())
  assert.deepEqual([denied.method, denied.reason], ['api_key', 'not_found'])
  const nobody = new Rdbv1.API(createClient({ apiURL: profile.apiURL, defaultRegion: 'fr-par' }))
  await refused(Errors.DeniedAuthenticationError, () => nobody.listInstances())

  await api.setInstanceACLRules({ instanceId, rules: [{ ip: '192.0.2.7', description: 'one' }] })
  await api.waitForInstance({ instanceId })
  const rules = await api.listInstanceACLRules({ instanceId }).all()
  assert.deepEqual(rules.map(one => one.ip), ['192.0.2.7/32'])
  const left = await api.deleteInstanceACLRules({ instanceId, aclRuleIps: ['192.0.2.7'] })
  assert.deepEqual(left.rules, [])
  await api.waitForInstance({ instanceId })
  const settings = await api.addInstanceSettings({ instanceId, settings: [{ name: 'work_mem', value: '8' }] })
  assert.deepEqual(settings.settings, [{ name: 'work_mem', value: '8' }])
  await api.waitForInstance({ instanceId })

  // Stopped by the operator.
  const stop = await fetch(`${profile.apiURL}/admin/v1/instances/${instanceId}/stop`, {
    method: 'POST',
    headers: { 'x-auth-token': process.env.BERTH_ADMIN_KEY },
  })
  assert.equal(stop.status, 202)
  assert.equal((await api.waitForInstance({ instanceId })).status, 'locked')
  await refused(Errors.ResourceLockedError, () => api.restartInstance({ instanceId }))

  for (const { id } of [first, second]) {
    await api.waitForInstance({ instanceId: id })
    assert.equal((await api.deleteInstance({ instanceId: id })).status, 'deleting')
    await refused(Errors.ResourceNotFoundError, () => api.waitForInstance({ instanceId: id }))
  }
}

main().catch(error => {
  console.error(error)
  process.exit(1)
})
