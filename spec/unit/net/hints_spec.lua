local advice = require "luapilot.net.hints"

describe("advice", function()
  it("knows what may be done about a failure", function()
    assert.matches("nobody listens there: is it running", advice.of("connection refused", "ECONNREFUSED"))
    assert.matches("is the path right", advice.of("no such file", "ENOENT"))
    assert.equal("is the name right?", advice.of("cannot resolve api", "EAI_NONAME"))
    assert.equal("timeout allows more", advice.of("no answer", "ETIMEDOUT"))
  end)

  it("tells certificates apart", function()
    assert.matches("cafile", advice.of("its certificate is signed by nobody known", "ECERT"))
    assert.matches("servername", advice.of("its certificate is for another name", "ECERT"))
    assert.is_nil(advice.of("it has expired", "ECERT"))
  end)

  it("knows TLS where none is spoken", function()
    assert.matches("http://", advice.of("no TLS with c:8500: SSL routines::wrong version number", "ETLS"), 1, true)
    assert.is_nil(advice.of("no TLS with c:8500: handshake failure", "ETLS"))
  end)

  it("is silent where there is nothing to say", function()
    assert.is_nil(advice.of("connection reset", "ECONNRESET"))
    assert.is_nil(advice.of("?", nil))
  end)
end)
