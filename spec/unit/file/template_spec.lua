local template = require "luapilot.file.template"

describe("template", function()
  local store

  before_each(function() store = template.store(_G) end)

  -- The text, or nil and the message.
  local function render(text, data)
    local compiled, message = store:compile(text, "x.tmpl")
    if not compiled then return nil, message end
    return compiled:run(data or {}, "x.tmpl")
  end

  local function message_of(text, data)
    local result, message = render(text, data)
    assert.is_nil(result)
    return message
  end

  local UPSTREAMS = [[
upstream app {
<% for _, up in ipairs(upstreams) do %>
  server <%= up.address %>:<%= up.port %>;
<% end %>
<% if #upstreams == 0 then %>
  server 127.0.0.1:1 down;
<% end %>
}
]]

  describe("writes", function()
    it("a clean block for each thing of a list", function()
      local two = { { address = "10.0.0.1", port = 80 }, { address = "10.0.0.2", port = 8080 } }
      assert.equal("upstream app {\n  server 10.0.0.1:80;\n  server 10.0.0.2:8080;\n}\n",
        render(UPSTREAMS, { upstreams = two }))
      assert.equal("upstream app {\n  server 127.0.0.1:1 down;\n}\n", render(UPSTREAMS, { upstreams = {} }))
    end)

    it("text as it is", function()
      for _, text in ipairs { "", "a", "a\n", "\n\n", "100 % > < %d %> \0 \\n \"'", "]]", "é\r\n" } do
        assert.equal(text, render(text))
      end
    end)

    it("strings, numbers and booleans, unescaped", function()
      assert.equal("<&> 8000 1.5 17179869184 1000000000000000 true false",
        render("<%= a %> <%= 8000 %> <%= 1.5 %> <%= 2 ^ 34 %> <%= 1e15 %> <%= true %> <%= not a %>", { a = "<&>" }))
    end)

    it("the first value of an expression", function()
      assert.equal("b", render('<%= ("abc"):match "b" %>'))
      assert.equal("x", render('<%= (("a"):gsub("a", "x")) %>'))
      assert.equal("x", render('<%= ("a"):gsub("a", "x") %>'))
    end)

    it("a tag, when that is meant", function()
      assert.equal("a <% b %> c", render("a <%= '<%' %> b %> c"))
    end)

    it("long texts of many parts", function()
      local lines, expected = {}, {}
      for i = 1, 40000 do
        lines[i] = ("line <%%= n %%> %d"):format(i)
        expected[i] = ("line 1 %d"):format(i)
      end
      assert.equal(table.concat(expected, "\n", 1, 5000), render(table.concat(lines, "\n", 1, 5000), { n = 1 }))
    end)
  end)

  describe("a line of statements", function()
    it("leaves nothing behind", function()
      assert.equal("a\nb", render("a\n<% local x = 1 %>\nb"))
      assert.equal("a\nb\n", render("a\n  <% local x = 1 %>\t\nb\n"))
      assert.equal("b", render("<% local x = 1 %>\nb"))
      assert.equal("a\n", render("a\n<% local x = 1 %>"))
      assert.equal("", render("  <% local x = 1 %>  "))
      assert.equal("x\r\ny\r\nz", render("x\r\n<% if true then %>\r\ny\r\n<% end %>\r\nz"))
    end)

    it("may hold several, over several lines", function()
      assert.equal("y\n", render(" <% if true then %> <% if true then %> \ny\n<% end %><% end %>\n"))
      assert.equal("a\nb", render("a\n<%\n  local x = 1\n  local y = 2\n%>\nb"))
    end)

    it("with anything else on it stays", function()
      assert.equal("a\n 1\nb", render("a\n<% local x = 1 %> <%= x %>\nb"))
      assert.equal("a\n- \nb", render("a\n- <% local x = 1 %>\nb"))
      assert.equal("a\n .\nb", render("a\n<% local x = 1 %> .\nb"))
      assert.equal("a\n\nb", render("a\n<%= '' %>\nb"))
      assert.equal("a\n\n\nb", render("a\n\n<% local x = 1 %>\n\nb"))
    end)

    it("may be a comment", function()
      assert.equal("a\nb", render("a\n<% -- nothing here %>\nb"))
      assert.equal("a  b", render("a <% --[[ nothing ]] %> b"))
      assert.equal("a\nb", render("a\n<%\n  -- one\n  -- two %>\nb"))
      assert.equal("1\n", render("<%= 1 -- the first %>\n"))
      assert.equal("a--b", render('<% local x = "a--b" -- c %><%= x %>'))
    end)
  end)

  describe("sees", function()
    it("the fields of its data, before Lua's own names", function()
      assert.equal("1 x", render("<%= n %> <%= type %>", { n = 1, type = "x" }))
      assert.equal("false", render("<%= off %>", { off = false }))
    end)

    it("the pure part of Lua", function()
      assert.equal("3 A 1,2 4 number 2 1 b 5", render([[<%= math.max(1, 3) %> <%= string.upper "a" %> ]]
        .. [[<%= table.concat({ 1, 2 }, ",") %> <%= tonumber "4" %> <%= type(1) %> <%= select("#", 1, 2) %> ]]
        .. [[<%= (unpack { 1 }) %> <%= next { b = 1 } %> <%= tostring(5) %>]]))
      assert.equal("1970", render('<%= os.date("!%Y", 0) %>'))
      assert.equal("number", render("<%= type(os.time()) %>"))
    end)

    it("nothing else", function()
      for name in ([[ io require load loadstring dofile debug package coroutine pcall print setmetatable getmetatable
                      rawset _G setfenv jit arg collectgarbage ]]):gmatch "%S+" do
        local message = message_of(("<%%= %s %%>"):format(name))
        assert.is_truthy(message:find("^x.tmpl:1: unknown variable \"" .. name)
          or message:find("^x.tmpl:1: \"" .. name .. "\" is not in data"), message)
      end
      assert.matches("attempt to call field 'execute'", message_of "<% os.execute 'true' %>")
      assert.matches("attempt to call field 'dump'", message_of "<% string.dump(error) %>")
    end)

    it("a copy of its data, and changes nothing outside", function()
      local list = { 3, 1, 2 }
      list.self = list
      assert.equal("1 2 3 1", render("<% table.sort(l) %><%= table.concat(l, ' ') %> <%= l.self[1] %>", { l = list }))
      assert.same({ 3, 1, 2 }, { unpack(list) })
      render "<% string.upper = nil; table.mine = 1; x = 1 %>"
      assert.equal("A", render '<%= string.upper "a" %>')
      assert.matches("\"x\" is not in data", message_of "<%= x %>")
      assert.is_nil(rawget(table, "mine"))
    end)

    it("objects as they are", function()
      local object = setmetatable({}, { __index = function(_, key) return key .. "!" end })
      assert.equal("a!", render("<%= o.a %>", { o = object }))
    end)

    it("variables of its own", function()
      assert.equal("1 2", render "<% x = 1; local y = 2 %><%= x %> <%= y %>")
      assert.equal("<a><b>", render "<% local function tag(n) %><<%= n %>><% end tag 'a' tag 'b' %>")
    end)

    it("tables in the order of their keys", function()
      local data = { t = { b = 1, a = 2, [2] = 3, [1] = 4, c = 5, z = 6, [true] = 7 } }
      assert.equal("1=4 2=3 true=7 a=2 b=1 c=5 z=6 ",
        render("<% for k, v in pairs(t) do %><%= tostring(k) %>=<%= v %> <% end %>", data))
      assert.equal("", render("<% for k in pairs(t) do t[k] = nil end for k in pairs(t) do %>x<% end %>", data))
      assert.matches("^x.tmpl:1: bad argument #1 to 'pairs' %(table expected, got number%)$",
        message_of "<% pairs(1) %>")
    end)
  end)

  describe("refuses", function()
    it("nil, naming the expression and its line", function()
      assert.equal("x.tmpl:3: <%= up.adress %> is nil", message_of("a\n\n<%= up.adress %>", { up = {} }))
      assert.equal("x.tmpl:2: <%= up .b %> is nil", message_of("a\n<%= up\n  .b\n%>", { up = {} }))
      assert.equal("x.tmpl:1: <%= " .. ("nil or "):rep(8) .. "n... %> is nil",
        message_of("<%= " .. ("nil or "):rep(20) .. "nil %>"))
    end)

    it("what cannot be written", function()
      assert.equal("x.tmpl:1: <%= t %> is a table; a string, a number or a boolean can be written",
        message_of("<%= t %>", { t = { 1 } }))
      assert.matches("<%%= f %%> is a function;", message_of("<%= f %>", { f = print }))
    end)

    it("unknown variables, with a near one", function()
      assert.matches('^x.tmpl:2: unknown variable "upstream" %(did you mean "upstreams"%?%)$',
        message_of("\n<% for _ in ipairs(upstream) do end %>", { upstreams = {} }))
      assert.matches('"tabel" %(did you mean "table"%?%)', message_of "<%= tabel.concat {} %>")
      assert.matches('"x" is not in data %(it has: "one", "two"%), or nil there: ',
        message_of("<%= x %>", { two = 1, one = 2 }))
      assert.matches("a value that may be missing is passed as false, or with a default$", message_of "<%= x %>")
    end)

    it("errors of its own code, at the template's line", function()
      assert.equal("x.tmpl:3: attempt to index field 'z' (a nil value)", message_of("\n\n<%= y.z.w %>", { y = {} }))
      assert.equal("x.tmpl:2: boo", message_of "<% local function f()\n error 'boo' end %>\n\n<% f() %>")
      assert.equal("x.tmpl:2: no port", message_of "a\n<% assert(false, 'no port') %>")
      assert.matches("^x.tmpl:1: bad argument #1 to 'rep'", message_of "<% string.rep() %>")
      assert.matches("^x.tmpl:4: spec/unit/file/template_spec.lua:%d+: inner$",
        message_of("\n\n\n<%= f() %>", { f = function() error "inner" end }))
    end)

    it("but passes on errors that are no strings", function()
      local err = {}
      local compiled = store:compile("<% f() %>", "x.tmpl")
      local ok, raised = pcall(compiled.run, compiled, { f = function() error(err) end }, "x.tmpl")
      assert.is_false(ok)
      assert.equal(err, raised)
    end)
  end)

  describe("finds before it runs", function()
    it("wrong syntax, at the template's line", function()
      assert.equal("x.tmpl:2: 'do' expected at %>", message_of "a\n<% for x in y %>\nb")
      assert.matches("^x.tmpl:3: 'end' expected %(to close 'for' at line 2%) near '<eof>'",
        message_of "a\n<% for i = 1, 2 do %>\nb")
      assert.matches("^x.tmpl:3: '<eof>' expected near 'end'", message_of "a\n\n<% end %>")
      assert.matches("^x.tmpl:2: unfinished string", message_of "a\n<% x = 'abc %>\n")
      assert.matches("^x.tmpl:2: unexpected symbol near '%)'", message_of "a\n<%= 1 + %>\n")
      assert.equal("x.tmpl:1: '=' expected at %>", message_of "<% x %> b")
    end)

    it("tags that are none", function()
      assert.equal("x.tmpl:3: <% is not closed by %>", message_of "a\n\n<% x = 1")
      assert.equal("x.tmpl:1: <%= %> has nothing to write", message_of "<%= %>")
      assert.equal("x.tmpl:1: <%= %> has nothing to write", message_of "<%= -- x %>")
      assert.matches("^x.tmpl:1: '%)' expected near ','", message_of "<%= 1, 2 %>")
      assert.matches("^x.tmpl:1: '%)' expected near ';'", message_of "<%= 1; %>")
      assert.equal("x.tmpl:2: a comment is not closed before %>", message_of "\n<% --[[ x %>")
      assert.matches("<%%%- and %-%%> do not exist here", message_of "<%- x -%>")
      assert.matches("<%%%- and %-%%> do not exist here", message_of "<% x -%>")
    end)

    it("never shows how it is made", function()
      local wrong = { "<% for %>", "a<% x = %>b", "<%= ( %>", "<% if x %><%= y %>", "<% x = 'a %>b", "<% ) %>",
        "<% f( %>b", "<% return %>b", "<% local x, %>b", "<% t = { %>b<% } %>", "<% x = [[ %>b" }
      for _, text in ipairs(wrong) do
        local message = message_of(text)
        assert.is_nil(message:find "_[TV]%u+_", message)
        assert.is_nil(message:find("repeat", 1, true), message)
      end
    end)
  end)

  describe("is compiled", function()
    it("once for each content", function()
      local one = store:compile("a <%= b %>", "one.tmpl")
      assert.equal(one, (store:compile("a <%= b %>", "two.tmpl")))
      assert.are_not.equal(one, (store:compile("a <%= c %>", "one.tmpl")))
      local _, message = one:run({}, "two.tmpl")
      assert.matches("^two.tmpl:1: ", message)
    end)

    it("and forgets what is too much", function()
      local first = store:compile("0", "x")
      for i = 1, 200 do store:compile(tostring(i), "x") end
      assert.is_true(store.count <= 64)
      assert.are_not.equal(first, (store:compile("0", "x")))
    end)

    it("for runs that do not see each other, even one inside the other", function()
      local compiled = store:compile("<% n = name %><%= f() %><%= n %>", "x")
      local function inner() return (compiled:run({ name = "in", f = function() return "" end }, "x")) end
      assert.equal("inout", compiled:run({ name = "out", f = inner }, "x"))
    end)

    it("and may wait in a coroutine", function()
      local compiled = store:compile("a<%= f() %>b", "x")
      local co = coroutine.wrap(function() return compiled:run({ f = coroutine.yield }, "x") end)
      co()
      assert.equal("a5b", co(5))
    end)
  end)

  it("is not confused by any text", function()
    math.randomseed(7)
    local pieces = { "<%", "%>", "=", "\n", " ", "-", "x", "--", "[[", "]]", "'", "end", "do", "\r\n", "%", "(", ")" }
    for _ = 1, 3000 do
      local parts = {}
      for i = 1, math.random(12) do parts[i] = pieces[math.random(#pieces)] end
      local text = table.concat(parts)
      if not text:find "do.*end" and not text:find "repeat" then
        local result, message = render(text, { x = 1 })
        assert.is_true(result ~= nil or message:find "^x.tmpl:%d+: " ~= nil, text)
        if result == nil then assert.is_nil(message:find "_[TV]%u+_", text .. "\n→ " .. message) end
      end
    end
  end)
end)
