-- routes: which endpoint a path means. A route that ends with "/" stands for all below it; the longest counts.
--
--   GET, PUT, POST, DELETE   fun(request): luapilot.sim.consul.Answer
--   here                     the agent answers it alone; the others go to the servers
--   consistency              says how consistent its answer is
--   told                     has an index even when it fails, as those with consistency have
--   leaderless               is answered without a leader
--   cache                    "refresh" or "simple": the agent has a cache for it; of paths that match `cache_of` only
--   events                   its index does not rise, it is only another one
--   bounded                  takes bodies of half a megabyte at most

local routes = {}

local ORDER = { "GET", "PUT", "POST", "DELETE" }

local all = {}

local function add(map)
  for path, route in pairs(map) do
    route.allow = {}
    for _, method in ipairs(ORDER) do
      if route[method] then table.insert(route.allow, method) end
    end
    all[path] = route
  end
end

add(require "luapilot.sim.consul.agent_api")
add(require "luapilot.sim.consul.catalog_api".routes)
add(require "luapilot.sim.consul.event_api")
add(require "luapilot.sim.consul.kv_api")
add(require "luapilot.sim.consul.query_api")
add(require "luapilot.sim.consul.session_api")
add(require "luapilot.sim.consul.txn_api")

---@param path string
---@return table? route
---@return string rest      of the path
function routes.find(path)
  if all[path] then return all[path], "" end
  for stop = #path, 1, -1 do
    if path:sub(stop, stop) == "/" then
      local route = all[path:sub(1, stop)]
      if route then return route, path:sub(stop + 1) end
    end
  end
  return nil, ""
end

---How the agent keeps answers of a route, if it does.
---@param route table
---@param rest string
---@return "refresh"|"simple"|nil
function routes.cache(route, rest)
  if route.cache_of and not rest:find(route.cache_of) then return nil end
  return route.cache
end

return routes
