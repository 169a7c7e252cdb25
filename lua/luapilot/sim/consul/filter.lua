return { compile = function() return nil, "soon" end }
