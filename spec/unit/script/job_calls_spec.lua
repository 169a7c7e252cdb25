local job_calls = require "luapilot.script.job_calls"

local function reloads(source)
  local list = {}
  for i, call in ipairs(job_calls.on_jobs(source, "reload")) do
    list[i] = ("%s %s %d"):format(call.name, call.job, call.line)
  end
  return list
end

local DECLARED = 'local nginx = pilot.job "nginx" { exec = "nginx" }\n'

describe("job_calls", function()
  it("finds a method of a job that has a local", function()
    assert.same({ "nginx nginx 2" }, reloads(DECLARED .. "pilot.on('SIGHUP', function() nginx:reload() end)"))
  end)

  it("finds calls however they are spaced", function()
    assert.same({ "nginx nginx 2" }, reloads(DECLARED .. "nginx --[[x]] :\n reload ()"))
  end)

  it("finds all of them", function()
    assert.same({ "nginx nginx 2", "nginx nginx 3" }, reloads(DECLARED .. "nginx:reload()\nreturn nginx:reload()"))
  end)

  it("sees other methods", function() assert.same({}, reloads(DECLARED .. "nginx:restart()")) end)

  it("sees strings and comments", function()
    assert.same({}, reloads(DECLARED .. 'local s = "nginx:reload()" -- nginx:reload()'))
  end)

  describe("is silent about a name that may mean something else:", function()
    local unsure = {
      ["a parameter"] = "local function f(nginx) nginx:reload() end",
      ["a parameter of a method"] = "function M.x:f(a, nginx) nginx:reload() end",
      ["a second local"] = "local nginx = other()\nnginx:reload()",
      ["a loop's variable"] = "for _, nginx in ipairs(jobs) do nginx:reload() end",
      ["an assignment"] = "nginx = other()\nnginx:reload()",
      ["a local among others"] = "local a, nginx\nnginx:reload()",
      ["a field of another"] = "jobs.nginx:reload()",
      ["a comment in the middle"] = "nginx: --[[now]] reload()",
    }
    for what, text in pairs(unsure) do
      it(what, function() assert.same({}, reloads(DECLARED .. text)) end)
    end
  end)

  it("finds the strings that a field is given", function()
    local source = [[
      pilot.render { text = "", to = "/a" }
      pilot.render { to = '/b', text = "" }
      pilot.render { to = "/c" .. name, text = 'to = "/d"' } -- to = "/e"
      pilot.render { to = path; from_to = "/f" }
      x.y { to = [=[/g]=]; }
    ]]
    assert.same({ "/a", "/b", "/g" }, job_calls.fields(source, "to"))
  end)
end)
