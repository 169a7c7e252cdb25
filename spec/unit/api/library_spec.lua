-- The interface file for editors says what the program gives: no name more, no name less.

local job_schema = require "luapilot.schema.job"
local mistakes = require "luapilot.base.mistakes"

local function library(path)
  local file = assert(io.open(path or "lua/luapilot/api/library.lua"))
  local text = file:read "*a"
  file:close()
  return text
end

local function names(pattern, path)
  local found = {}
  for name in library(path):gmatch(pattern) do found[#found + 1] = name end
  table.sort(found)
  return found
end

local function keys(set)
  local list = {}
  for key in pairs(set) do list[#list + 1] = key end
  table.sort(list)
  return list
end

describe("the interface file for editors", function()
  it("has the functions and libraries of pilot", function()
    local given = require("luapilot").attach { state = {}, args = {}, port = {} }
    for _, name in ipairs { "fs", "http", "json", "log", "net", "watch" } do
      assert.is_table(given[name], name) -- they come when they are asked for
    end
    local listed = {}
    for _, pattern in ipairs { "\nfunction pilot%.([%w_]+)%(", "\npilot%.([%w_]+) = {}" } do
      for _, name in ipairs(names(pattern)) do listed[name] = true end
    end
    assert.is_table(given.consul)
    listed.args, listed.state, listed.consul = true, true, true
    assert.same(keys(given), keys(listed))
    for _, name in ipairs { "log", "json", "fs", "http", "net", "watch" } do
      local members = {}
      local of = "pilot%." .. name .. "%.([%w_]+)"
      for _, pattern in ipairs { "\nfunction " .. of .. "%(", "\n" .. of .. " =" } do
        for _, member in ipairs(names(pattern)) do members[member] = true end
      end
      assert.same(keys(given[name]), keys(members))
    end
  end)

  it("has the functions of pilot.consul", function()
    local path = "lua/luapilot/consul/library.lua"
    local given = require("luapilot").attach({ state = {}, args = {}, port = {} }).consul
    local groups = names("\nconsul%.([%w_]+) = {}", path)
    for _, group in ipairs(groups) do
      assert.same(keys(given[group]), names("\nfunction consul%." .. group .. "%.([%w_]+)%(", path))
    end
    groups[#groups + 1] = names("\nfunction consul%.([%w_]+)%(", path)[1]
    table.sort(groups)
    assert.same(keys(given), groups)
  end)

  it("has no job field that does not exist", function()
    local section = library():match "@class luapilot.JobOptions\n(.-)\n\n"
    for field in section:gmatch "@field ([%w_]+)" do
      local list = mistakes.new()
      job_schema.job("app", { exec = "x", [field] = {} }, "here", list)
      for _, mistake in ipairs(list:list()) do assert.is_nil(mistake.message:find "unknown field", field) end
    end
  end)

  it("has the methods of a template", function()
    assert.same(require("luapilot.api.template").METHODS, names "\nfunction template:([%w_]+)%(")
  end)

  it("has the methods of a stream", function()
    assert.same(require("luapilot.net.connection").METHODS, names "\nfunction stream:([%w_]+)%(")
  end)

  it("has the methods of a watch", function()
    assert.same(require("luapilot.api.watch").METHODS, names "\nfunction watch:([%w_]+)%(")
  end)

  it("has the methods of a job", function()
    local job_api = require "luapilot.api.job"
    assert.same((job_api.names()), names "\nfunction job:([%w_]+)%(")
  end)
end)
