"""cosonet: connects a process's network namespace, and takes the connection back.

A program of its own: `cosonet -pid PID` is the whole contract, and any
runtime may call it.  It uses the low rooms of coso (errors, kernel, spawn,
state) and never its engine.  What happens at every start (attach, lease) is
encoded here, without imports; what people wait for rarely uses pyroute2.
"""
