"""Links: results travel to another appliance over ZeroMQ, numbered, and are taken once.

    wire       the messages, and what is refused of them
    sender     what a sender has sent, may send, and knows to be durable: no sockets
    receiver   what a receiver has taken of each stream: no sockets
    history    one stream's numbers at the receiver, and their form in a cut
    keys, gate who may connect: key files and tokens, and the door that looks at them
    upstream   the sink and the source

Only this folder imports zmq, and only when a link opens: the import costs 29 ms.
"""
