---@meta
-- pilot.consul for editors (LuaLS), as api/library.lua is for the rest. Never loaded;
-- spec/unit/api/library_spec.lua keeps it equal to what the program gives. docs/reference.md says the same in prose.

---@class luapilot.ConsulDeclaration   what is absent here comes from the environment variables of the official tools
---@field address string?              "host:port", "unix:///run/consul.sock", or a URL; default "127.0.0.1:8500"
---@field token string?
---@field token_file string?           read at load, and again when an answer is 403
---@field auth string?                 "name:password"
---@field dc string?                   of every request that has a datacentre and says none
---@field max_connections integer?     default 150
---@field tls luapilot.TlsOptions?

---@class luapilot.ConsulWrite
---@field dc string?
---@field token string?                instead of the pilot's
---@field timeout luapilot.Span?       default "30s"; with `index` what `wait` takes, and 30 s
---@field retry luapilot.Span?         try again for so long what may pass

---@class luapilot.ConsulRead: luapilot.ConsulWrite
---@field stale boolean?               any server may answer
---@field consistent boolean?          the leader asks the others first
---@field index string|integer|nil     answer when there is something newer than this
---@field wait luapilot.Span?          … or after this time (default 5 m)

---@class luapilot.ConsulFind: luapilot.ConsulRead
---@field near string?                 a node, or "_agent": sorted by distance from it
---@field filter string?               an expression of Consul
---@field node_meta table<string, string>?

---@class luapilot.ConsulTagged: luapilot.ConsulFind
---@field cached boolean?              the agent may answer from its cache; not together with `consistent`
---@field tag string|string[]|nil      with all of these

---@class luapilot.ConsulInstances: luapilot.ConsulTagged
---@field passing boolean?             only those whose checks all pass

---@class luapilot.ConsulLocal
---@field token string?
---@field timeout luapilot.Span?
---@field retry luapilot.Span?

---@class luapilot.ConsulFiltered: luapilot.ConsulLocal
---@field filter string?

---@class luapilot.ConsulPair
---@field key string
---@field value string
---@field flags integer|string         a string of digits beyond 2^53
---@field create_index string
---@field modify_index string
---@field lock_index string
---@field session string?

---@class luapilot.ConsulCheckOptions
---@field id string?
---@field check_id string?             of a check in a service
---@field name string?
---@field notes string?
---@field status "passing"|"warning"|"critical"|nil
---@field service_id string?
---@field ttl luapilot.Span?
---@field interval luapilot.Span?
---@field timeout luapilot.Span?
---@field deregister_critical_service_after luapilot.Span?
---@field http string?
---@field method string?
---@field header table<string, string[]>?
---@field body string?
---@field tcp string?
---@field grpc string?
---@field grpc_use_tls boolean?
---@field tls_skip_verify boolean?
---@field args string[]?
---@field shell string?
---@field docker_container_id string?
---@field alias_node string?
---@field alias_service string?
---@field success_before_passing integer?
---@field failures_before_critical integer?

---@class luapilot.ConsulServiceOptions
---@field id string?
---@field name string
---@field tags string[]?
---@field port integer?
---@field address string?
---@field meta table<string, string>?
---@field tagged_addresses table<string, { address: string?, port: integer? }>?
---@field weights { passing: integer?, warning: integer? }?
---@field enable_tag_override boolean?
---@field kind string?
---@field proxy table?
---@field connect table?
---@field check luapilot.ConsulCheckOptions?
---@field checks luapilot.ConsulCheckOptions[]?

---@class luapilot.ConsulSessionOptions
---@field name string?
---@field node string?
---@field ttl luapilot.Span?
---@field lock_delay luapilot.Span?
---@field behavior "release"|"delete"|nil
---@field checks string[]?
---@field node_checks string[]?
---@field service_checks { id: string }[]?

---@class luapilot.ConsulQueryOptions
---@field name string?
---@field session string?
---@field token string?
---@field service table?               { service, near, only_passing, connect, ignore_check_ids, tags, node_meta, service_meta, failover = { nearest_n, datacenters } }
---@field dns { ttl: luapilot.Span? }?
---@field template { type: string, regexp: string?, remove_empty_tags: boolean? }?

---@class luapilot.ConsulOperation
---@field verb "set"|"cas"|"lock"|"unlock"|"get"|"get-tree"|"check-index"|"check-session"|"check-not-exists"|"delete"|"delete-tree"|"delete-cas"
---@field key string
---@field value string|number|nil
---@field flags integer|string|nil
---@field index integer|string|nil
---@field session string?

---pilot.consul "localhost:8500": which agent this pilot talks to. The fields are for tasks.
---@class luapilot.ConsulLibrary
---@overload fun(options: string|luapilot.ConsulDeclaration|nil)
local consul = {}

consul.kv = {}
---nil: there is no such key. The details have no value.
---@param key string
---@param options luapilot.ConsulRead?
---@return string? value, luapilot.ConsulPair? details, luapilot.ConsulMeta meta
function consul.kv.get(key, options) end
---All pairs whose keys begin so, sorted.
---@param prefix string
---@param options luapilot.ConsulRead?
---@return luapilot.ConsulPair[] pairs, luapilot.ConsulMeta meta
function consul.kv.list(prefix, options) end
---@param prefix string
---@param options luapilot.ConsulRead|{ separator: string? }|nil
---@return string[] keys, luapilot.ConsulMeta meta
function consul.kv.keys(prefix, options) end
---False: the condition (cas, acquire, release) did not hold.
---@param key string
---@param value string|number
---@param options luapilot.ConsulWrite|{ flags: any, cas: any, acquire: string?, release: string? }|nil
---@return boolean
function consul.kv.put(key, value, options) end
---Writes if the key's modify_index is still this one; 0: if there is no such key.
---@param key string
---@param value string|number
---@param index string|integer
---@param options luapilot.ConsulWrite|{ flags: any }|nil
---@return boolean
function consul.kv.cas(key, value, index, options) end
---@param key string
---@param options luapilot.ConsulWrite|{ recurse: boolean?, cas: any }|nil
---@return boolean
function consul.kv.delete(key, options) end

---All operations or none; raises with those that were refused.
---@param operations luapilot.ConsulOperation[]
---@param options luapilot.ConsulRead?
---@return luapilot.ConsulPair[] pairs, luapilot.ConsulMeta meta
function consul.txn(operations, options) end

consul.agent = {}
---@param options luapilot.ConsulLocal?
---@return table                       { config, member, coord, meta, debug_config, stats }
function consul.agent.self(options) end
---@param options luapilot.ConsulLocal?
---@return string
function consul.agent.node_name(options) end
---@param options luapilot.ConsulLocal?
---@return table                       { timestamp, gauges, counters, samples, … }
function consul.agent.metrics(options) end
---@param options luapilot.ConsulLocal?
---@return table                       { memory, cpu, host, disk }
function consul.agent.host(options) end
---@param options luapilot.ConsulLocal|{ wan: boolean?, segment: string? }|nil
---@return table[]
function consul.agent.members(options) end
---@param options luapilot.ConsulFiltered?
---@return table<string, table>        by id
function consul.agent.services(options) end
---@param id string
---@param options luapilot.ConsulLocal|{ index: any, wait: luapilot.Span? }|nil
---@return table?, luapilot.ConsulMeta
function consul.agent.service(id, options) end
---@param options luapilot.ConsulFiltered?
---@return table<string, table>        by id
function consul.agent.checks(options) end
---@param id string
---@param options luapilot.ConsulLocal?
---@return "passing"|"warning"|"critical" status, table? info    nil: there is none
function consul.agent.agent_health_service_by_id(id, options) end
---@param name string
---@param options luapilot.ConsulLocal?
---@return "passing"|"warning"|"critical" status, table[]? infos
function consul.agent.agent_health_service_by_name(name, options) end
---@param service luapilot.ConsulServiceOptions
---@param options luapilot.ConsulLocal|{ replace_existing_checks: boolean? }|nil
function consul.agent.service_register(service, options) end
---@param id string
---@param options luapilot.ConsulLocal?
function consul.agent.service_deregister(id, options) end
---@param check luapilot.ConsulCheckOptions
---@param options luapilot.ConsulLocal?
function consul.agent.check_register(check, options) end
---@param id string
---@param options luapilot.ConsulLocal?
function consul.agent.check_deregister(id, options) end
---@param id string
---@param note string?
---@param options luapilot.ConsulLocal?
function consul.agent.pass_ttl(id, note, options) end
---@param id string
---@param note string?
---@param options luapilot.ConsulLocal?
function consul.agent.warn_ttl(id, note, options) end
---@param id string
---@param note string?
---@param options luapilot.ConsulLocal?
function consul.agent.fail_ttl(id, note, options) end
---@param id string
---@param output string?
---@param status "passing"|"warning"|"critical"
---@param options luapilot.ConsulLocal?
function consul.agent.update_ttl(id, output, status, options) end
---@param id string
---@param reason string?
---@param options luapilot.ConsulLocal?
function consul.agent.enable_service_maintenance(id, reason, options) end
---@param id string
---@param options luapilot.ConsulLocal?
function consul.agent.disable_service_maintenance(id, options) end
---@param reason string?
---@param options luapilot.ConsulLocal?
function consul.agent.enable_node_maintenance(reason, options) end
---@param options luapilot.ConsulLocal?
function consul.agent.disable_node_maintenance(options) end
---@param address string
---@param options luapilot.ConsulLocal|{ wan: boolean? }|nil
function consul.agent.join(address, options) end
---The agent leaves the cluster, and ends.
---@param options luapilot.ConsulLocal?
function consul.agent.leave(options) end
---@param node string
---@param options luapilot.ConsulLocal|{ prune: boolean? }|nil
function consul.agent.force_leave(node, options) end
---@param options luapilot.ConsulLocal?
function consul.agent.reload(options) end

consul.health = {}
---@param service string
---@param options luapilot.ConsulInstances?
---@return { node: table, service: table, checks: table[], authority: string? }[], luapilot.ConsulMeta
function consul.health.service(service, options) end
---@param service string
---@param options luapilot.ConsulInstances?
---@return { node: table, service: table, checks: table[], authority: string? }[], luapilot.ConsulMeta
function consul.health.connect(service, options) end
---@param service string
---@param options luapilot.ConsulFind?
---@return table[], luapilot.ConsulMeta
function consul.health.checks(service, options) end
---@param node string
---@param options luapilot.ConsulRead|{ filter: string? }|nil
---@return table[], luapilot.ConsulMeta
function consul.health.node(node, options) end
---@param state "passing"|"warning"|"critical"|"any"
---@param options luapilot.ConsulFind?
---@return table[], luapilot.ConsulMeta
function consul.health.state(state, options) end

consul.catalog = {}
---@param options luapilot.ConsulWrite|{ cached: boolean? }|nil
---@return string[]
function consul.catalog.datacenters(options) end
---@param options luapilot.ConsulFind?
---@return table[], luapilot.ConsulMeta
function consul.catalog.nodes(options) end
---@param options luapilot.ConsulRead|{ node_meta: table<string, string>?, cached: boolean? }|nil
---@return table<string, string[]> tags   by name
---@return luapilot.ConsulMeta
function consul.catalog.services(options) end
---@param service string
---@param options luapilot.ConsulTagged?
---@return table[], luapilot.ConsulMeta
function consul.catalog.service(service, options) end
---@param service string
---@param options luapilot.ConsulTagged?
---@return table[], luapilot.ConsulMeta
function consul.catalog.connect(service, options) end
---@param node string
---@param options luapilot.ConsulRead|{ filter: string? }|nil
---@return { node: table, services: table<string, table> }?, luapilot.ConsulMeta
function consul.catalog.node(node, options) end
---@param node string
---@param options luapilot.ConsulRead|{ filter: string? }|nil
---@return { node: table, services: table[] }?, luapilot.ConsulMeta
function consul.catalog.node_service_list(node, options) end
---@param registration table           { node, address, id, node_meta, service = { service, id, port, … }, check = { … }, checks, … }
---@param options luapilot.ConsulWrite?
function consul.catalog.register(registration, options) end
---@param deregistration { node: string, service_id: string?, check_id: string?, address: string?, datacenter: string? }
---@param options luapilot.ConsulWrite?
function consul.catalog.deregister(deregistration, options) end

consul.session = {}
---@param session luapilot.ConsulSessionOptions?
---@param options luapilot.ConsulWrite?
---@return string id
function consul.session.create(session, options) end
---Without a check of the node: only its ttl ends it.
---@param session luapilot.ConsulSessionOptions?
---@param options luapilot.ConsulWrite?
---@return string id
function consul.session.create_no_checks(session, options) end
---@param id string
---@param options luapilot.ConsulWrite?
---@return table?                      nil: it is gone
function consul.session.renew(id, options) end
---@param id string
---@param options luapilot.ConsulWrite?
function consul.session.destroy(id, options) end
---@param id string
---@param options luapilot.ConsulRead?
---@return table?, luapilot.ConsulMeta
function consul.session.info(id, options) end
---@param node string
---@param options luapilot.ConsulRead?
---@return table[], luapilot.ConsulMeta
function consul.session.node(node, options) end
---@param options luapilot.ConsulRead?
---@return table[], luapilot.ConsulMeta
function consul.session.list(options) end

consul.event = {}
---@param name string
---@param options luapilot.ConsulWrite|{ payload: string?, node: string?, service: string?, tag: string|string[]|nil }|nil
---@return string id
function consul.event.fire(name, options) end
---@param options luapilot.ConsulLocal|{ name: string?, index: any, wait: luapilot.Span? }|nil
---@return { id: string, name: string, payload: string, ltime: integer }[], luapilot.ConsulMeta
function consul.event.list(options) end

consul.query = {}
---@param query luapilot.ConsulQueryOptions
---@param options luapilot.ConsulWrite?
---@return string id
function consul.query.create(query, options) end
---@param id string
---@param query luapilot.ConsulQueryOptions
---@param options luapilot.ConsulWrite?
function consul.query.update(id, query, options) end
---@param options luapilot.ConsulRead?
---@return table[], luapilot.ConsulMeta
function consul.query.list(options) end
---@param id string
---@param options luapilot.ConsulRead?
---@return table?, luapilot.ConsulMeta
function consul.query.get(id, options) end
---@param id string
---@param options luapilot.ConsulWrite?
function consul.query.delete(id, options) end
---@param name string                  or its id
---@param options luapilot.ConsulRead|{ near: string?, limit: integer?, cached: boolean? }|nil
---@return { service: string, nodes: table[], datacenter: string, failovers: integer, dns: table }, luapilot.ConsulMeta
function consul.query.execute(name, options) end

consul.status = {}
---@param options luapilot.ConsulWrite?
---@return string?                     "host:port"; nil: the agent knows no leader
function consul.status.leader(options) end
---@param options luapilot.ConsulWrite?
---@return string[]
function consul.status.peers(options) end

return consul
