-- poller: a blocking query of Consul with nothing around it: one connection, the next question as soon as there is an
-- answer, no limit. Started by api/watch.lua as `luajit bench/support/poller.lua PORT PATH`; ended by its site.
--
-- It prints a line for each answer, "heard NUMBER TIME": the key's value, or the highest port of the instances.

package.path = "bench/support/?.lua;lua/?.lua;" .. package.path

local agent = require "agent"
local json = require "cjson"
local system = require "system"

local consul, path = agent.at(tonumber(arg[1])), arg[2]
local index

local function number_in(body)
  if path:find("kv/", 1, true) then return tonumber(body) end
  local highest = 0
  for _, each in ipairs(json.decode(body)) do highest = math.max(highest, each.Service.Port) end
  return highest
end

io.stdout:setvbuf "line"
while true do
  local body, head = consul:api("GET", index and ("%s&index=%s&wait=60s"):format(path, index) or path)
  index = head:match "\r\nx%-consul%-index: (%d+)"
  print(("heard %d %.6f"):format(number_in(body), system.epoch()))
end
