module tlsfront

go 1.25
