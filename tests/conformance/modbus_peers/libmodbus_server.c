/* A server on libmodbus, for TCP or RTU, whose tables are set and read over standard input and output.
 *
 *   libmodbus_server tcp PORT UNIT | rtu PATH UNIT
 *   set TABLE ADDRESS VALUE        no answer
 *   get TABLE ADDRESS COUNT        one line with COUNT numbers
 *   ready                          "ready"
 *
 * TABLE is c, d, h or i. It ends with its standard input.
 */
#include <errno.h>
#include <modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <unistd.h>

static modbus_mapping_t *mapping;

static void command(char *line) {
    char verb[8], table;
    int address, value;
    if (strcmp(line, "ready") == 0) {
        puts("ready");
    } else if (sscanf(line, "%7s %c %d %d", verb, &table, &address, &value) == 4) {
        uint8_t *bits = table == 'c' ? mapping->tab_bits : table == 'd' ? mapping->tab_input_bits : NULL;
        uint16_t *registers = table == 'h' ? mapping->tab_registers : table == 'i' ? mapping->tab_input_registers : NULL;
        if (strcmp(verb, "set") == 0) {
            if (bits)
                bits[address] = value != 0;
            else if (registers)
                registers[address] = (uint16_t)value;
        } else if (strcmp(verb, "get") == 0) {
            for (int i = 0; i < value; i++)
                printf("%d ", bits ? bits[address + i] : registers ? registers[address + i] : -1);
            puts("");
        }
    }
    fflush(stdout);
}

/* Reads what there is on standard input and carries out every complete line; 0 at its end. */
static int commands(void) {
    static char buffer[65536];
    static size_t filled;
    ssize_t count = read(STDIN_FILENO, buffer + filled, sizeof buffer - filled - 1);
    if (count <= 0)
        return 0;
    filled += (size_t)count;
    buffer[filled] = 0;
    char *start = buffer, *end;
    while ((end = strchr(start, '\n'))) {
        *end = 0;
        command(start);
        start = end + 1;
    }
    filled -= (size_t)(start - buffer);
    memmove(buffer, start, filled);
    return 1;
}

/* Takes one request from a socket or line and answers it; -1 when the other end is gone. */
static int serve(modbus_t *context, int socket) {
    uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
    modbus_set_socket(context, socket);
    int length = modbus_receive(context, request);
    if (length > 0)
        return modbus_reply(context, request, length, mapping) < 0 && errno == EPIPE ? -1 : 0;
    return length;
}

int main(int argc, char **argv) {
    if (argc != 4)
        return 2;
    int tcp = strcmp(argv[1], "tcp") == 0;
    modbus_t *context = tcp ? modbus_new_tcp("127.0.0.1", atoi(argv[2])) : modbus_new_rtu(argv[2], 115200, 'N', 8, 1);
    mapping = modbus_mapping_new(65536, 65536, 65536, 65536);
    if (!context || !mapping || modbus_set_slave(context, atoi(argv[3])) < 0)
        return 1;
    int listener = tcp ? modbus_tcp_listen(context, 4) : -1;
    if (tcp ? listener < 0 : modbus_connect(context) < 0) {
        fprintf(stderr, "%s: %s\n", argv[2], modbus_strerror(errno));
        return 1;
    }
    int line = tcp ? -1 : modbus_get_socket(context);
    fd_set watched;
    FD_ZERO(&watched);
    FD_SET(STDIN_FILENO, &watched);
    FD_SET(tcp ? listener : line, &watched);
    for (;;) {
        fd_set ready = watched;
        if (select(FD_SETSIZE, &ready, NULL, NULL, NULL) < 0)
            return 1;
        if (FD_ISSET(STDIN_FILENO, &ready) && !commands())
            return 0;
        for (int one = 1; one < FD_SETSIZE; one++) {
            if (!FD_ISSET(one, &ready))
                continue;
            if (one == listener) {
                int accepted = modbus_tcp_accept(context, &listener);
                if (accepted >= 0)
                    FD_SET(accepted, &watched);
            } else if (serve(context, one) < 0 && tcp) {
                close(one);
                FD_CLR(one, &watched);
            }
        }
    }
}
