// GraphQL over WebSockets by graphql-ws, and over POST, on one path.
// Usage: graphql_server.mjs NAME
import { createServer } from "node:http";
import { graphql, GraphQLInt, GraphQLObjectType, GraphQLSchema, GraphQLString } from "graphql";
import { useServer } from "graphql-ws/use/ws";
import { WebSocketServer } from "ws";

const [name] = process.argv.slice(2);

async function* countdown(_, { from }) {
  for (let left = from; left >= 0; left--) yield { countdown: left };
}

const schema = new GraphQLSchema({
  query: new GraphQLObjectType({
    name: "Query",
    fields: { name: { type: GraphQLString, resolve: () => name } },
  }),
  subscription: new GraphQLObjectType({
    name: "Subscription",
    fields: { countdown: { type: GraphQLInt, args: { from: { type: GraphQLInt } }, subscribe: countdown } },
  }),
});

const http = createServer(async (request, response) => {
  let body = "";
  for await (const part of request) body += part;
  const result = await graphql({ schema, source: JSON.parse(body).query });
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(result));
});
useServer({ schema }, new WebSocketServer({ server: http, path: "/graphql" }));
http.listen(0, "127.0.0.1", () => console.log(JSON.stringify({ port: http.address().port })));
